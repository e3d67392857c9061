"""Sums, means and softmaxes over the bags of a packed tensor.

Everywhere ``offsets`` [B + 1] holds the first row of each bag and, last, the number of rows N.
Summation is ``index_add`` in row order, or a product with the bag's rows alone, so that a bag's
result has the same bits alone and packed. Sums are in the precision of what is added, so half
precision, where a long sum stands still, becomes float32 first.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def segment_ids(offsets: Tensor) -> Tensor:
    """Return the bag number [N] of every row."""
    return torch.repeat_interleave(offsets.diff())


def bags_of(x: Tensor, offsets: Tensor) -> Sequence[Tensor]:
    """Return the rows of each bag. A single bag's are x itself, whose gradient is no copy."""
    return [x] if len(offsets) == 2 else x.split(offsets.diff().tolist())


def joined(bags: Sequence[Tensor]) -> Tensor:
    """Put the rows of bags one behind the other; those of a single bag are no copy."""
    return bags[0] if len(bags) == 1 else torch.cat(list(bags))


def at_least_single(values: Tensor) -> Tensor:
    """Return half precision as float32, and anything else as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Sum ``values`` [N, ...] over each bag: [B, ...]; 0 for an empty bag."""
    values = at_least_single(values)
    total = values.new_zeros(len(offsets) - 1, *values.shape[1:])
    return total.index_add(0, segment_ids(offsets), values)


def segment_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """Average ``values`` [N, ...] over each bag: [B, ...]; 0 for an empty bag."""
    total = segment_sum(values, offsets)
    counts = offsets.diff().clamp(min=1).to(total.dtype)
    return total / counts.view(-1, *[1] * (values.ndim - 1))


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """Maximum of ``values`` [N, ...] over each bag: [B, ...]; -inf for an empty bag."""
    rows = segment_ids(offsets).view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    floor = values.new_full((len(offsets) - 1, *values.shape[1:]), -torch.inf)
    return floor.scatter_reduce(0, rows, values, "amax")


def bag_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """Softmax of ``scores`` [N, ...] over the rows of each bag, in float32 or better."""
    return joined([one.softmax(0) for one in bags_of(at_least_single(scores), offsets)])


def segment_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """Do what ``bag_softmax`` does for many segments of few rows, as the edges of nodes are."""
    return _Softmax.apply(at_least_single(scores), offsets)


class _Softmax(torch.autograd.Function):
    """The softmax of every segment, in few operations and little memory either way."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, offsets: Tensor) -> Tensor:
        ids = segment_ids(offsets)
        bags = scores.new_full((len(offsets) - 1, *scores.shape[1:]), -torch.inf)
        rows = ids.view(-1, *[1] * (scores.ndim - 1)).expand_as(scores)
        highest = bags.scatter_reduce(0, rows, scores, "amax")
        powers = (scores - _of_rows(highest, ids)).exp_()  # the maximum only keeps exp() in range
        totals = torch.zeros_like(bags).index_add_(0, ids, powers)
        weights = powers / _of_rows(totals, ids)
        ctx.save_for_backward(powers, totals, weights, ids)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        powers, totals, weights, ids = ctx.saved_tensors
        of_rows = _of_rows(totals, ids)
        less = (weights / of_rows).mul_(grad).neg_()
        of_totals = torch.zeros_like(totals).index_add_(0, ids, less)
        return (grad / of_rows).add_(_of_rows(of_totals, ids)).mul_(powers), None


def _of_rows(values: Tensor, ids: Tensor) -> Tensor:
    """Return values [B, ...] of bags as those of their rows [N, ...], or [1, ...] of one bag."""
    return values if len(values) == 1 else values[ids]


def segment_pool(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """Sum ``values`` [N, D] over each bag with several ``weights`` [N, C] each: [B, C, D]."""
    weights, values = at_least_single(weights), at_least_single(values)
    kind = torch.promote_types(weights.dtype, values.dtype)
    bags = zip(bags_of(weights.to(kind), offsets), bags_of(values.to(kind), offsets), strict=True)
    return torch.stack([w.t() @ v for w, v in bags])


def weighted_sum(
    weights: Tensor, values: Tensor, offsets: Tensor, order: Tensor | None = None
) -> Tensor:
    """Sum ``values`` [N, D] over each bag with ``weights`` [N]: [B, D].

    With ``order`` [N], every row of ``values`` once, row n of the bags is ``values[order[n]]``.

    On a CPU this is a product of a vector and a matrix for every bag, which makes nothing as large
    as the values; elsewhere products of all rows are added up.
    """
    weights, values = at_least_single(weights), at_least_single(values)
    if len(offsets) == 2 and order is None and values.device.type == "cpu":
        # The same product; to the gradient that PyTorch makes of it others are added in place.
        kind = torch.promote_types(weights.dtype, values.dtype)
        return (weights.to(kind) @ values.to(kind)).unsqueeze(0)
    return _WeightedSum.apply(weights, values, offsets, order)


class _WeightedSum(torch.autograd.Function):
    """The weighted sum of every bag; its gradients need weights and values alone."""

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, values: Tensor, offsets: Tensor, order: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(weights, values, offsets, order)
        kind = torch.promote_types(weights.dtype, values.dtype)
        if values.device.type == "cpu":
            parts = _of_bags(values, offsets, order)
            return torch.stack([weights[rows].to(kind) @ v.to(kind) for rows, v in parts])
        rows = values if order is None else values[order]
        return segment_sum(weights.unsqueeze(1) * rows, offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, values, offsets, order = ctx.saved_tensors
        of_weights = torch.empty_like(weights) if ctx.needs_input_grad[0] else None
        of_values = torch.empty_like(values) if ctx.needs_input_grad[1] else None
        if values.device.type == "cpu":
            for (rows, v), g in zip(_of_bags(values, offsets, order), grad, strict=True):
                if of_weights is not None:
                    of_weights[rows] = v.to(g.dtype) @ g
                if of_values is None:
                    continue
                w, g = weights[rows].to(v.dtype), g.to(v.dtype)
                if order is None:
                    torch.outer(w, g, out=of_values[rows])
                else:
                    of_values[order[rows]] = torch.outer(w, g)
            return of_weights, of_values, None, None
        spread = grad[segment_ids(offsets)]  # [N, D]
        if of_weights is not None:
            of_weights = (spread * (values if order is None else values[order])).sum(1)
        if of_values is not None:
            of_values[slice(None) if order is None else order] = spread * weights.unsqueeze(1)
        return of_weights, of_values, None, None


def _of_bags(
    values: Tensor, offsets: Tensor, order: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield where each bag is, and its values."""
    for start, end in pairwise(offsets.tolist()):
        rows = slice(start, end)
        yield rows, values[rows if order is None else order[rows]]


def segment_argmax(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the row [B, C] of the maximum of ``values`` [N, C] in each bag, the first of equals.

    No bag may be empty. Where a bag has NaN it is the row of one, so that NaN goes on.
    """
    rows = [one.argmax(0) for one in bags_of(values, offsets)]
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows) + offsets[:-1, None]


def segment_rank(values: Tensor, offsets: Tensor) -> Tensor:
    """Return how many rows [N, C] of the same bag come before each, the largest value first.

    Of equal values the first row comes first.
    """
    ids = segment_ids(offsets).unsqueeze(1).expand_as(values)
    order = values.argsort(dim=0, descending=True, stable=True)
    order = order.gather(0, ids.gather(0, order).argsort(dim=0, stable=True))
    places = torch.arange(len(values), device=values.device).unsqueeze(1) - offsets[ids]
    return torch.empty_like(order).scatter(0, order, places)
