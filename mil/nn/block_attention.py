"""Attention whose weights cannot stay inside a fused kernel, without holding all of them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mil.nn.dropout import keep_mask
from mil.nn.segments import at_least_single

WEIGHTS = 1 << 24
"""Weights that exist at a time, over all heads: 64 MiB in single precision.

The C library gives blocks of more than 32 MiB back to the system at once. Smaller ones leave holes
between what stays, and a process then grows with every block of queries.
"""
KEPT = 1 << 20
"""Weights of a bag up to which they are kept for the gradient."""


def in_blocks(step: Callable[[int, int], Tensor], queries: int, keys: int, heads: int) -> Tensor:
    """Return ``step(start, end)`` of blocks of queries, [heads, block, d], put together.

    A block has at most ``WEIGHTS`` pairs of query, key and head. With several blocks, the backward
    pass computes each anew instead of keeping what was in it.
    """
    bounds = _bounds(queries, keys, heads)
    if len(bounds) > 1 and torch.is_grad_enabled():
        return torch.cat([checkpoint(step, *each, use_reentrant=False) for each in bounds], 1)
    return torch.cat([step(*each) for each in bounds], 1)


def _bounds(queries: int, keys: int, heads: int) -> list[tuple[int, int]]:
    block = max(1, WEIGHTS // (keys * heads))
    return [(start, min(start + block, queries)) for start in range(0, queries, block)]


def dropout_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, p: float) -> Tensor:
    """Return softmax(q k^T scale) v of [heads, n, d], with a share p < 1 of the weights dropped.

    Fused kernels that drop weights exist on GPUs only. Elsewhere it goes in blocks of queries, in
    float32 or better; what is dropped follows from a number out of PyTorch's global generator.
    """
    if p == 0 or q.device.type == "cuda":
        return scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=p, scale=scale)[0]
    with torch.autocast(q.device.type, enabled=False):
        qkv = (at_least_single(x) for x in (q, k, v))
        return _DropoutAttention.apply(*qkv, scale, p).to(v.dtype)


class _DropoutAttention(torch.autograd.Function):
    """y = (M * P) v / (1 - p), with P the softmax and M a mask of zeros and ones.

    Kept are q, k, v, y and the seed of M, of which every block of queries makes weights and mask
    anew; of small bags these, too. With g the gradient by y, that by P is D = M * (g v^T) / (1 - p)
    and that by what the softmax was of is P * (D - g . y), since the rows of P * D add up to g . y.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, p: float) -> Tensor:
        ctx.scale, ctx.p = scale, p
        ctx.seed = int(torch.randint(1 << 62, ()))
        y = v.new_empty(len(q), q.shape[1], v.shape[2])
        ctx.kept = None
        for rows, weights, mask in _blocks(q, k, scale, p, ctx.seed):
            if weights.numel() == len(q) * q.shape[1] * k.shape[1] <= KEPT:
                ctx.kept = [(rows, weights, mask)]
            y[:, rows] = (weights * mask) @ v
        y /= 1 - p
        ctx.save_for_backward(q, k, v, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, y = ctx.saved_tensors
        of_y = (grad * y).sum(-1, keepdim=True)  # [heads, n, 1]
        grad = grad / (1 - ctx.p)
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for rows, weights, mask in ctx.kept or _blocks(q, k, ctx.scale, ctx.p, ctx.seed):
            slope = (grad[:, rows] @ v.transpose(1, 2)).mul_(mask).sub_(of_y[:, rows])
            slope.mul_(weights)
            of_v += (weights * mask).transpose(1, 2) @ grad[:, rows]
            of_q[:, rows] = slope @ k
            of_k += slope.transpose(1, 2) @ q[:, rows]
        return of_q.mul_(ctx.scale), of_k.mul_(ctx.scale), of_v, None, None


def _blocks(
    q: Tensor, k: Tensor, scale: float, p: float, seed: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield rows of queries, the softmax of their weights [heads, rows, keys] and its mask."""
    random = torch.Generator().manual_seed(seed)
    for start, end in _bounds(q.shape[1], k.shape[1], len(q)):
        rows = slice(start, end)
        weights = (q[:, rows] @ k.transpose(1, 2)).mul_(scale).softmax(-1)
        yield rows, weights, keep_mask(weights, p, random)
