"""Sums, means and softmaxes over the bags of a packed tensor.

Everywhere ``offsets`` [B + 1] holds the first row of each bag and, last, the number of rows N.
Summation is ``index_add`` in row order, so that a bag's result has the same bits alone and packed.
It adds in the precision of what it adds, so half precision, where a long sum stands still, becomes
float32 first.
"""

import torch
from torch import Tensor


def segment_ids(offsets: Tensor) -> Tensor:
    """Return the bag number [N] of every row."""
    return torch.repeat_interleave(offsets.diff())


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


def segment_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """Softmax of ``scores`` [N, ...] over the rows of each bag, in float32 or better."""
    scores = at_least_single(scores)
    rows = segment_ids(offsets)
    # The maximum only keeps exp() in range; it cancels, so no gradient has to pass through it.
    powers = (scores - segment_max(scores.detach(), offsets)[rows]).exp()
    return powers / segment_sum(powers, offsets)[rows]
