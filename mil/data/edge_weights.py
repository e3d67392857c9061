"""How much the edges of a bag weigh."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mil.bags import Bag
from mil.nn.segments import segment_ids
from mil.problems import InputError, did_you_mean

BLOCK = 1 << 14
"""Edges whose features are compared at once: 100 MB at 1,024 features."""


def joined(bag: Bag, edges: Tensor, weight: str = "one") -> Bag:
    r"""Return the bag with these edges as its graph (``edge_index``, ``edge_weight``).

    Parameters
    ----------
    edges : [2, E], from a function of ``mil.data.edges``.
    weight : of an edge between x and y. ``one``; ``gaussian``, :math:`e^{-|x - y|^2 / 2 s^2}` with
        s the median of all distances :math:`|x - y|` in the bag; ``cosine``, of the angle between x
        and y, or 0 where that is obtuse.

    Raises
    ------
    mil.problems.InputError : another weight.
    """
    if weight not in WEIGHTS:
        hint = did_you_mean(weight, WEIGHTS) or "."
        raise InputError([f"weight is {weight!r}{hint} Known: {', '.join(WEIGHTS)}."])
    return replace(bag, edge_index=edges, edge_weight=WEIGHTS[weight](bag, edges))


def _gaussian(bag: Bag, edges: Tensor) -> Tensor:
    square = _over_edges(bag, edges, lambda x, y: (x - y).square().sum(1))
    which = segment_ids(bag.offsets)[edges[1]]
    weight = torch.empty_like(square)
    for number in range(len(bag)):  # every bag by itself, or it would depend on the others
        own = which == number
        if own.any():
            median = square[own].median()
            # Half of all edges or more may join equal features; then only these are near
            scaled = square[own] / (2 * median) if median > 0 else square[own] / 0
            weight[own] = torch.exp(-scaled.nan_to_num(nan=0.0, posinf=torch.inf))
    return weight


def _cosine(bag: Bag, edges: Tensor) -> Tensor:
    return _over_edges(bag, edges, lambda x, y: cosine_similarity(x, y).clamp(min=0))


def _over_edges(bag: Bag, edges: Tensor, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return what ``of`` says of the features at both ends of every edge, [E]."""
    x = bag.features.float()
    parts = [of(x[source], x[target]) for source, target in edges.split(BLOCK, 1)]
    return torch.cat(parts) if parts else x.new_zeros(0)


WEIGHTS = {"one": lambda bag, edges: None, "gaussian": _gaussian, "cosine": _cosine}
