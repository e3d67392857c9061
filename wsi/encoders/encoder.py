"""What an encoder is: how its network is built, what it is fed, and where its weights come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class EncoderError(ValueError):
    """An encoder or its weights cannot be used; the message is a sentence for the user."""

    is_sentence = True  # for the user as it stands: the command line shows no traceback


def keep_known(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Drop what a published file has beyond the network: classifiers, layers behind a cut."""
    return {name: state[name] for name in network.state_dict() if name in state}


@dataclass(frozen=True)
class Encoder:
    """What is needed to build an encoder and to feed it.

    Parameters
    ----------
    name : name in the configuration.
    build : returns the network, ``[B, 3, input_size, input_size]`` to ``[B, width]``; None where
        the network itself comes in the file of weights (TorchScript).
    width : number of features, D.
    input_size : side of the input.
    mean, std : normalisation of the input after division by 255.
    resize : side that patches are resized to before a centre crop to `input_size`; None is
        `input_size`, no crop.
    interpolation : ``bilinear`` or ``bicubic``, always antialiased.
    half : half precision to try on a GPU; ``float16`` suits convolutional networks, ``bfloat16``
        transformers, whose activations grow beyond float16's range.
    pooling : in words, what becomes of the last feature map or tokens.
    mpp : scales that it was trained at, in um per pixel; none for natural images.
    trained_on : in words, the images that it learnt from.
    trained_on_tcga : whether slides of TCGA are among them; None where nothing published says so.
    licence : of the published weights.
    source : the published weights: a repository of the Hugging Face hub, an address, or
        ``package:`` and the name of a Python package.
    adapt : turns a published state dict into one for `build`'s network.
    """

    name: str
    build: Callable[[], nn.Module] | None
    width: int
    input_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resize: int | None = None
    interpolation: str = "bilinear"
    half: str = "float16"
    pooling: str = "mean of the map"
    mpp: tuple[float, ...] = ()
    trained_on: str = "ImageNet-1k"
    trained_on_tcga: bool | None = None
    licence: str = ""
    source: str = ""
    adapt: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] = keep_known
