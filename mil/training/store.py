"""The trained network on disk."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn

from wsi.storage import atomic

OPPONENT = "discriminator."


def copy_state(network: nn.Module, discriminator: nn.Module | None) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers, the discriminator's under their own prefix."""
    state = dict(network.state_dict())
    if discriminator is not None:
        state |= {OPPONENT + name: value for name, value in discriminator.state_dict().items()}
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def save_state(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write a state as safetensors."""
    with atomic(path) as partial:
        partial.write_bytes(
            save(dict(sorted(state.items())))
        )  # save_file would hide it from others


def load_network_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state of the network alone, without the discriminator it was trained against."""
    state = load_file(path)
    return {name: value for name, value in state.items() if not name.startswith(OPPONENT)}


def load_discriminator_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state of the discriminator alone; empty where there was none."""
    return {
        name.removeprefix(OPPONENT): value
        for name, value in load_file(path).items()
        if name.startswith(OPPONENT)
    }
