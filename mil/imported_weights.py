"""Weights of other codes: their files, and whether every parameter has its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mil.problems import InputError


def read_plain_tensors(path: str | Path, what: str) -> Any:
    """Return the content of a PyTorch file of plain tensors, numbers, lists and dictionaries.

    Nothing in the file is executed.

    Parameters
    ----------
    path : of the file.
    what : it should be, for the sentence on one that is not there: ``a checkpoint (.pth)``.

    Raises
    ------
    mil.problems.InputError : no such file, or one with anything else in it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError([f"{path}: there is no such file. Give the path of {what}."])
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken file raises is not documented
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            [
                f"{path.name}: it cannot be read as a PyTorch file of plain tensors ({reason}). "
                "Nothing in it was executed. Copy it anew, or save it with torch.save again."
            ]
        ) from error


@dataclass(frozen=True)
class Parameters:
    """The named parameters in a file; ``source``, whose code wrote it, is for the sentences."""

    source: str
    file: str
    state: Mapping[str, Tensor]

    def size(self, name: str, axis: int) -> int:
        """Return a weight's number of outputs (axis 0) or inputs (axis 1).

        Raises
        ------
        mil.problems.InputError : there is no such weight.
        """
        value = self.state.get(name)
        if value is None or value.ndim < 2:
            found = "missing" if value is None else _form(value)
            raise InputError(
                [
                    f"{self.file}: {name} is {found}; every network of {self.source}'s of this "
                    "kind has such a matrix. Give the file as its training wrote it."
                ]
            )
        return value.shape[axis]

    def count(self, pattern: str) -> int:
        """Return how many numbers 0, 1, ... follow the pattern in the names, without a gap."""
        found = {int(m[1]) for name in self.state if (m := re.match(rf"{pattern}\.(\d+)\.", name))}
        return next(i for i in range(len(found) + 1) if i not in found)


def mismatches(given: Parameters, expected: Mapping[str, Tensor], whose: str) -> Iterator[str]:
    """Yield a sentence for every parameter that is missing, of another shape or type, or unknown.

    Parameters
    ----------
    given : what the file has.
    expected : parameters of such a network, under the original's names.
    whose : whose parameters they are, for the sentences: ``model abmil``.
    """
    for name, value in expected.items():
        here = given.state.get(name)
        if here is None:
            yield f"{given.file}: {name} is missing; {whose} has it, {_form(value)}."
        elif _form(here) != _form(value):
            yield (
                f"{given.file}: {name} is {_form(here)}; beside the file's other layers, {whose} "
                f"has it {_form(value)}."
            )
    for name in given.state:
        if name not in expected:
            yield (
                f"{given.file}: {name} is not known; {whose} as {given.source} publishes it has no "
                "such parameter. A network with layers of its own cannot be taken over."
            )


def _form(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
