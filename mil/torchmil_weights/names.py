"""From parameters under torchmil's names to the state of our network."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mil.imported_weights import Parameters, mismatches
from mil.network import Network
from mil.nn.smooth import Smooth
from mil.nn.spectral_linear import SpectralLinear
from mil.problems import InputError
from mil.torchmil_weights.tables import Table

NORMED = "parametrizations.weight"
"""Where PyTorch's spectral norm puts a weight; beside it are vectors that it finds the norm by."""


def as_ours(network: Network, given: Parameters, table: Table) -> dict[str, Tensor]:
    """Return the state of a network out of torchmil's parameters.

    Raises
    ------
    mil.problems.InputError : a sentence for every parameter that is missing, misshaped, unknown or
        out of range.
    """
    ours = network.state_dict()
    state, places = {}, defaultdict(list)  # theirs: ours
    for name, value in ours.items():
        if _is_fixed(network, name):
            state[name] = value
        elif instead := _lookup(name.removeprefix("model."), table.absent):
            state[name] = instead[0](value)
        else:
            places[_their_name(network, name, given, table)].append(name)

    axes = {their: found[0] for their in places if (found := _lookup(their, table.joined))}
    expected = {}
    for their, names in places.items():
        parts = [ours[name] for name in names]
        whole = torch.cat(parts, axes[their]) if their in axes else parts[0]
        expected[their] = whole.view(table.shaped.get(their, whole.shape))
    read = {
        name: value
        for name, value in given.state.items()
        if name in expected or not _unread(name, expected, table)
    }
    given = Parameters(given.source, given.file, read)
    if problems := list(mismatches(given, expected, f"model {network.model.name}")):
        raise InputError(problems)

    for their, names in places.items():
        parts = [given.state[their]]
        if their in axes:
            axis = axes[their]
            parts = parts[0].split([ours[name].shape[axis] for name in names], axis)
        for name, part in zip(names, parts, strict=True):
            owner = network.get_submodule(name.rpartition(".")[0])
            if isinstance(owner, Smooth):
                part = _logit(part, owner.mode, f"{given.file}: {their}")
            state[name] = part.reshape(ours[name].shape)
    return state


def _is_fixed(network: Network, name: str) -> bool:
    """Return whether a parameter is a weight of neighbours that is not learnt: an option."""
    owner = network.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, Smooth) and not isinstance(owner.logit, nn.Parameter)


def _their_name(network: Network, name: str, given: Parameters, table: Table) -> str:
    """Return what torchmil calls a parameter of the network."""
    found = _lookup(name.removeprefix("model."), {**table.layers, "head.linear": table.head})
    if not found:
        raise InputError(
            [
                f"{given.file}: for {name} of model {network.model.name!r} torchmil has nothing. "
                "Leave out the option by which the model has it."
            ]
        )
    their, numbers, rest = found
    choice = [one.format(*numbers) + rest for one in ([their] if isinstance(their, str) else their)]
    chosen = next((one for one in choice if one in given.state), choice[0])
    layer, _, kind = chosen.rpartition(".")
    owner = network.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, SpectralLinear) and kind == "weight":
        return f"{layer}.{NORMED}.original"
    return chosen


def _lookup(name: str, table: Mapping) -> tuple | None:
    """Return what a table has for the longest beginning of a name, its numbers, and the rest."""
    for pattern in sorted(table, key=len, reverse=True):
        if found := re.match(_expression(pattern) + r"(\..*)?$", name):
            *numbers, rest = found.groups(default="")
            return table[pattern], numbers, rest
    return None


def _expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\{\}", r"(\d+)")


def _unread(name: str, expected: Iterable[str], table: Table) -> bool:
    """Return whether nothing of torchmil's, or nothing that predicts, reads one of its tensors."""
    layer, here, kind = name.partition(f".{NORMED}.")
    if here and kind in ("0._u", "0._v"):
        return f"{layer}.{NORMED}.original" in expected
    return _lookup(name, dict.fromkeys(table.unread)) is not None


def _logit(coefficient: Tensor, mode: str, where: str) -> Tensor:
    """Return the logit of alpha, the weight of the neighbours, of torchmil's coefficient.

    It is gamma = alpha / (1 - alpha) in the exact mode and 1 / gamma in the other, and unbounded.
    """
    if not coefficient > 0:
        raise InputError(
            [
                f"{where} is {coefficient.item():g}; smoothing needs it above 0 (torchmil does not "
                "see to that): the weight of the neighbours would not be between 0 and 1."
            ]
        )
    return coefficient.log() if mode == "exact" else -coefficient.log()
