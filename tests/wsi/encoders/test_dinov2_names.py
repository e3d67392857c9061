"""The converter against transformers' own networks, saved as they are published."""

import pytest
import safetensors.torch
import torch
from torch import nn

from wsi.encoders.dinov2_names import to_timm

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28}
TIMM = {"embed_dim": 32, "depth": 2, "num_heads": 4, "img_size": 28, "num_classes": 0}


def spread(network):
    """Make every parameter matter: transformers begins with scales of 1 and positions near 0."""
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return network.eval()


@pytest.fixture
def phikon():
    """Phikon-v2's layout in small, and timm's network for it."""
    transformers = pytest.importorskip("transformers")
    import timm

    published = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, patch_size=14))
    return spread(published), timm.create_model("vit_large_patch14_dinov2", **TIMM).eval()


@pytest.fixture
def hibou():
    """Hibou's layout in small: registers and gated feed-forward."""
    transformers = pytest.importorskip("transformers")
    import timm
    from timm.layers import SwiGLUPacked

    published = transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(
            **SMALL, patch_size=14, num_register_tokens=4, use_swiglu_ffn=True
        )
    )
    gated = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 2 * 88 / 32}
    return spread(published), timm.create_model("vit_base_patch14_reg4_dinov2", **TIMM, **gated)


@pytest.mark.parametrize("layout", ["phikon", "hibou"])
@torch.inference_mode()
def test_class_tokens_equal_those_of_transformers(layout, request, tmp_path):
    published, network = request.getfixturevalue(layout)
    published.save_pretrained(tmp_path)  # with the names that files on the hub have
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert "encoder.layer.1.attention.attention.query.weight" in state
    network.load_state_dict(to_timm(state, network))  # strict: all, and nothing else
    x = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    expected = published(pixel_values=x).last_hidden_state[:, 0]
    assert expected.std() > 0.1
    torch.testing.assert_close(network.eval()(x), expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_names_of_dinov2s_own_code(hibou):
    """Its file differs from timm's by names, and by the position of the class token."""
    _, network = hibou
    state = spread(network).state_dict()
    position = torch.full((1, 1, 32), 0.25)
    theirs = {
        name.replace("reg_token", "register_tokens")
        .replace("mlp.fc1", "mlp.w12")
        .replace("mlp.fc2", "mlp.w3"): value
        for name, value in state.items()
    }
    theirs["pos_embed"] = torch.cat((position, state["pos_embed"]), dim=1)
    theirs["cls_token"] = state["cls_token"] - position
    theirs["mask_token"] = torch.zeros(1, 32)
    back = to_timm(theirs, network)
    assert back.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(back[name], value)


def test_timms_own_names_pass(hibou):
    _, network = hibou
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in to_timm(state, network).items())


def test_a_part_of_query_key_and_value_is_not_made_up(phikon, tmp_path):
    published, network = phikon
    published.save_pretrained(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del state["encoder.layer.1.attention.attention.key.weight"]
    found = to_timm(state, network)
    assert network.state_dict().keys() - found.keys() == {"blocks.1.attn.qkv.weight"}
