"""Attention whose weights cannot stay inside a fused kernel, without holding all of them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mil.nn.dropout import dropped

WEIGHTS = 1 << 24
"""Weights that exist at a time, over all heads: 64 MiB in single precision.

The C library gives blocks of more than 32 MiB back to the system at once. Smaller ones leave holes
between what stays, and a process then grows with every block of queries.
"""


def in_blocks(step: Callable[[int, int], Tensor], queries: int, keys: int, heads: int) -> Tensor:
    """Return ``step(start, end)`` of blocks of queries, [heads, block, d], put together.

    A block has at most ``WEIGHTS`` pairs of query, key and head. With several blocks, the backward
    pass computes each anew instead of keeping what was in it.
    """
    block = max(1, WEIGHTS // (keys * heads))
    bounds = [(start, min(start + block, queries)) for start in range(0, queries, block)]
    if len(bounds) > 1 and torch.is_grad_enabled():
        return torch.cat([checkpoint(step, *each, use_reentrant=False) for each in bounds], 1)
    return torch.cat([step(*each) for each in bounds], 1)


def dropout_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, p: float) -> Tensor:
    """Return softmax(q k^T scale) v of [heads, n, d], with a share p of the weights dropped.

    Fused kernels that drop weights exist on GPUs only. Elsewhere it goes in blocks of queries.
    """
    if p == 0 or q.device.type == "cuda":
        return scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=p, scale=scale)[0]

    def step(start: int, end: int) -> Tensor:
        weights = ((scale * q[:, start:end]) @ k.transpose(1, 2)).softmax(-1)
        return dropped(weights, p) @ v

    return in_blocks(step, q.shape[1], k.shape[1], len(q))
