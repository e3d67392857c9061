import pytest
import torch

from wsi.encoders import find_encoder


def test_a_model_of_timm_by_name():
    encoder = find_encoder("timm:vit_small_patch16_224.augreg_in21k")
    assert (encoder.width, encoder.input_size) == (384, 224)
    assert encoder.mean == encoder.std == (0.5, 0.5, 0.5)
    assert (encoder.interpolation, encoder.half) == ("bicubic", "bfloat16")
    assert encoder.source == "timm/vit_small_patch16_224.augreg_in21k"
    assert encoder.licence == "apache-2.0"
    assert encoder.trained_on_tcga is False


@pytest.mark.parametrize(
    ("name", "width", "side", "half"),
    [
        ("resnet50", 2048, 224, "float16"),
        ("mobilenetv3_small_100.lamb_in1k", 1024, 224, "float16"),  # its head is wider than its map
        ("swin_tiny_patch4_window7_224.ms_in1k", 768, 224, "bfloat16"),
        ("vit_small_patch14_dinov2.lvd142m", 384, 518, "bfloat16"),
    ],
)
def test_width_is_measured(name, width, side, half):
    encoder = find_encoder(f"timm:{name}")
    assert (encoder.width, encoder.input_size, encoder.half) == (width, side, half)
    with torch.device("meta"):
        network = encoder.build().eval()
    assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, width)


@pytest.mark.parametrize("name", ["timm:resnt50.tv_in1k", "timm:resnet50.tv_in2k"])
def test_an_unknown_model_or_tag_names_the_nearest(name):
    with pytest.raises(ValueError, match=r"has no model .*; did you mean timm:resnet50.tv"):
        find_encoder(name)
