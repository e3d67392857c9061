import pytest
import torch

from wsi.encoders.class_and_mean_patch import ClassAndMeanPatch, name_within

SMALL = {"img_size": 28, "patch_size": 14, "embed_dim": 12, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize("registers", [0, 4])
@torch.inference_mode()
def test_class_token_beside_the_mean_of_patches_without_registers(registers):
    import timm

    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_huge_patch14_224", **SMALL, num_classes=0, global_pool="", reg_tokens=registers
    ).eval()
    network = ClassAndMeanPatch(vit)
    x = torch.randn(3, 3, 28, 28)
    found = network(x)
    tokens = vit.forward_features(x)
    assert tokens.shape == (3, 1 + registers + 4, 12)
    expected = torch.cat((tokens[:, 0], tokens[:, -4:].sum(1) / 4), dim=1)
    torch.testing.assert_close(found, expected)


def test_published_names_are_found_within():
    import timm

    vit = timm.create_model("vit_huge_patch14_224", **SMALL, num_classes=0, global_pool="")
    network = ClassAndMeanPatch(vit)
    renamed = name_within({**vit.state_dict(), "head.weight": torch.ones(2)}, network)
    network.load_state_dict(renamed)  # strict
