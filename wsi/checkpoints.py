"""State dicts of encoders: read from files, checked against the network, or drawn at random."""

from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wsi.encoders import Encoder, EncoderError

RANDOM_SEED = 0
NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict saved by PyTorch or of a .safetensors file, mapped.

    Raises
    ------
    EncoderError
        The file holds no weights.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state.get("state_dict", state))
    except (AttributeError, EOFError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise EncoderError(
            f"{path}: no weights can be read from it ({type(error).__name__}). It must be a state "
            "dict saved by PyTorch or a .safetensors file; download it again."
        ) from error


def skeleton(encoder: Encoder) -> nn.Module:
    """Return the network without memory for its parameters (PyTorch's meta device)."""
    with torch.device("meta"):
        return encoder.build()


def checked(state: dict[str, Tensor], encoder: Encoder, name: str) -> dict[str, Tensor]:
    """Return the tensors that the network keeps, or say in a sentence why they do not serve.

    Parameters
    ----------
    state : as published.
    encoder : whose weights they should be.
    name : of the file, for the sentence.

    Raises
    ------
    EncoderError
        A parameter is missing or has another shape, or the network was never trained.
    """
    network = skeleton(encoder)
    wanted = network.state_dict()
    adapted = encoder.adapt(state, network)
    missing = [key for key in wanted if key not in adapted and "num_batches" not in key]
    if missing:
        raise EncoderError(
            f"{name}: {len(missing)} parameters of {encoder.name} are not in it (the first is "
            f"{missing[0]}); these are not the weights of this encoder."
        )
    kept = {}
    for key, value in wanted.items():
        given = adapted[key] if key in adapted else torch.zeros(value.shape, dtype=value.dtype)
        if given.shape != value.shape:
            raise EncoderError(
                f"{name}: {key} has shape {tuple(given.shape)}, {encoder.name} needs "
                f"{tuple(value.shape)}; these are not the weights of this encoder."
            )
        kept[key] = given.to(value.dtype)
    _refuse_untrained(kept, network, name)
    return kept


def _refuse_untrained(state: dict[str, Tensor], network: nn.Module, name: str) -> None:
    """Training moves the means of batch norms from 0, and scales and shifts from 1 and 0."""
    means = [value for key, value in state.items() if key.endswith("running_mean")]
    if means and not any(value.any() for value in means):
        found = "all running means are 0"
    elif (norms := _affine_norms(network)) and all(
        bool((state[f"{norm}.weight"] == 1).all()) and not state[f"{norm}.bias"].any()
        for norm in norms
    ):
        found = "all normalisation layers scale by 1 and shift by 0"
    else:
        return
    raise EncoderError(
        f"{name}: {found}, so this network was never trained; if random weights are meant, say "
        "weights: random."
    )


def _affine_norms(network: nn.Module) -> list[str]:
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, NORMS) and module.weight is not None and module.bias is not None
    ]


def random_state(encoder: Encoder) -> dict[str, Tensor]:
    """Return seeded random weights whose batch norms are calibrated on seeded noise.

    Without calibration the activations of a deep random network grow by orders of magnitude.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        network = encoder.build().train()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None
        if norms:
            coarse = torch.randn(16, 3, 8, 8)
            size = (encoder.input_size, encoder.input_size)
            noise = nn.functional.interpolate(coarse, size, mode="bicubic")
            noise = noise + torch.randn(16, 3, *size)
            with torch.no_grad():
                network(noise)
    return network.state_dict()
