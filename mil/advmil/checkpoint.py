"""Files as AdvMIL's training writes them: epoch, parameters, state of the optimiser."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mil.imported_weights import read_plain_tensors
from mil.problems import InputError, listed
from wsi.storage import atomic

GENERATOR, DISCRIMINATOR = "train_modelG-best.pth", "train_modelD-best.pth"


def read_checkpoint(path: str | Path) -> tuple[Any, dict[str, Tensor]]:
    """Return epoch (None where there is none) and parameters of a checkpoint.

    Only plain tensors and numbers are read: nothing in the file is executed.

    Raises
    ------
    mil.problems.InputError : no such file, or not a checkpoint of AdvMIL.
    """
    path = Path(path)
    content = read_plain_tensors(path, "a checkpoint (.pth)")
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        found = listed(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InputError(
            [
                f"{path.name}: no parameters under 'model'; AdvMIL's checkpoints have epoch, model "
                f"and optimizer, this file has {found or 'nothing'}."
            ]
        )
    return content.get("epoch"), dict(state)


def write_checkpoint(path: str | Path, epoch: int, state: Mapping[str, Tensor]) -> None:
    """Write a checkpoint that the original can test with; its optimiser has no state to go on."""
    content = {"epoch": epoch, "model": dict(state), "optimizer": {}}
    buffer = io.BytesIO()  # to a path, torch.save would write the temporary name into the file
    torch.save(content, buffer)
    with atomic(path) as partial:
        partial.write_bytes(buffer.getvalue())
