"""Steps whose insides are computed again for the gradient where keeping them would be too much."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LARGE = 20_000
"""Instances from which on a step keeps its inputs only (Chen et al., 2016, arXiv 1604.06174)."""
RUN = 16_384
"""Instances that a step which takes each by itself works on at a time, then.

Of 512 float32 channels they are 32 MiB, from which on the C library gives memory back at once.
"""


def recomputed(step: Callable[..., Tensor], x: Tensor, *others: object) -> Tensor:
    """Return ``step(x, *others)``: the same values and gradients, dropout included.

    For more than ``LARGE`` rows of x [N, ...] the backward pass makes what the step computed on
    its way anew, which costs the time of one more forward pass and no memory meanwhile.
    """
    if torch.is_grad_enabled() and len(x) > LARGE:
        return checkpoint(step, x, *others, use_reentrant=False)
    return step(x, *others)


def recomputed_rows(step: Callable[..., Tensor], *rows: Tensor, wide: int = 1) -> Tensor:
    """Return ``step(*rows)`` of tensors [N, ...] whose rows have nothing to do with each other.

    For more than ``LARGE`` rows, or as many fewer as a step is ``wide``, keeping so many times as
    much of each row as others, it goes in runs of ``RUN`` or as many fewer, and each is computed
    again for the gradient: what one run computes on its way is all that exists at a time.
    """
    if len(rows[0]) * wide <= LARGE:
        return step(*rows)
    runs = zip(*(x.split(max(1, RUN // wide)) for x in rows), strict=True)
    return torch.cat([checkpoint(step, *run, use_reentrant=False) for run in runs])
