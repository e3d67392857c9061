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


def recomputed(step: Callable[..., Tensor], x: Tensor, *others: object, wide: int = 1) -> Tensor:
    """Return ``step(x, *others)``: the same values and gradients, dropout included.

    For more than ``LARGE`` rows of x [N, ...] the backward pass makes what the step computed on
    its way anew, which costs the time of one more forward pass and no memory meanwhile. A step that
    would keep ``wide`` times as much of each row as others begins with as many rows fewer.
    """
    if torch.is_grad_enabled() and len(x) * wide > LARGE:
        return checkpoint(step, x, *others, use_reentrant=False)
    return step(x, *others)


def recomputed_in_runs(step: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """Return ``step(*rows)`` of a step that takes every row [N, ...] by itself.

    For more than ``LARGE`` rows it goes in runs, and what the backward pass makes anew is only
    there for one run at a time.
    """
    if torch.is_grad_enabled() and len(rows[0]) > LARGE:
        runs = zip(*(each.split(RUN) for each in rows), strict=True)
        return torch.cat([checkpoint(step, *run, use_reentrant=False) for run in runs])
    return step(*rows)
