"""Encoders whose network comes with its weights: files of TorchScript."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsi.encoders.encoder import Encoder, EncoderError

TORCHSCRIPT = "torchscript"  # architecture in the configuration
DECLARED = ("width", "input_size", "mean", "std", "resize", "interpolation", "half", "licence",
            "trained_on_tcga", "mpp", "trained_on", "pooling")  # fmt: skip


def declared_encoder(name: str, declared: Mapping[str, Any]) -> Encoder:
    """Return an encoder of which only its file and what the user says of it are known.

    Parameters
    ----------
    name : name to give it.
    declared : ``width, input_size, mean, std`` and any other of :data:`DECLARED`.
    """
    known = {key: declared[key] for key in DECLARED if declared.get(key) is not None}
    for key in {"mean", "std", "mpp"} & known.keys():
        known[key] = tuple(float(value) for value in known[key])
    known = {"pooling": "the file's own", "trained_on": "", **known}
    return Encoder(**known, name=name, build=None)


def read_torchscript(content: bytes, name: str) -> nn.Module:
    """Return the network of a TorchScript file, in evaluation mode on the CPU.

    Raises
    ------
    EncoderError
        `content` is no TorchScript; `name` names it in the sentence.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of TorchScript, which stays readable
            return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise EncoderError(
            f"{name}: no TorchScript can be read from it ({type(error).__name__}). Export the "
            "network with torch.jit.trace(network.eval(), example) and torch.jit.save."
        ) from error


@torch.inference_mode()
def probe(network: nn.Module, encoder: Encoder, name: str | Path) -> None:
    """Run two patches through a network and compare what comes out with what is declared.

    Raises
    ------
    EncoderError
        It fails, or gives other than ``[2, width]`` finite numbers.
    """
    patches = torch.linspace(-2, 2, 2 * 3 * encoder.input_size**2)
    patches = patches.view(2, 3, encoder.input_size, encoder.input_size)
    try:
        found = network(patches)
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1]
        raise EncoderError(
            f"{name}: it takes no patches of shape {tuple(patches.shape)} ({said}). Check "
            "input_size, and that it was exported for batches of any size."
        ) from error
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if shape != (2, encoder.width):
        raise EncoderError(
            f"{name}: 2 patches give {shape}, and must give (2, {encoder.width}); check width, or "
            "export the network with its pooling."
        )
    if not found.isfinite().all():
        raise EncoderError(f"{name}: its features are not finite; check the file and input_size.")
