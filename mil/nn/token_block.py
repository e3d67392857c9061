"""A transformer layer on a few tokens, all of whose steps can be looked at."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mil.problems import InputError


class Steps(NamedTuple):
    """What a block makes of tokens x [B, T, H], step by step.

    Shapes
    ------
    q, k, v [B, h, T, H/h]; attention [B, h, T, T]: weights after the softmax; heard [B, T, H]:
    joined heads; projected, u, hidden and moved: see ``TokenBlock``; y [B, T, H]: the result.
    """

    x: Tensor
    normed: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    attention: Tensor
    heard: Tensor
    projected: Tensor
    u: Tensor
    normed_u: Tensor
    hidden: Tensor
    moved: Tensor
    y: Tensor


class TokenBlock(nn.Module):
    r"""Pre-norm transformer layer that keeps its attention, T^2 values a head.

    .. math::

        u = x + P\, \mathrm{heard}(\mathrm{LN}(x)), \qquad
        y = u + W_2\, \mathrm{GELU}(W_1 \mathrm{LN}(u))

    q, k and v have no bias; their rows in one weight are q, then k, then v, head after head.

    Parameters
    ----------
    width : H.
    heads : of the attention; they divide H.
    ratio : W_1 is so many times as wide as H.

    Raises
    ------
    mil.problems.InputError : ``heads`` do not divide the width.
    """

    def __init__(self, width: int, heads: int, ratio: int = 2) -> None:
        super().__init__()
        if width % heads:
            raise InputError([f"the width {width} must be a multiple of the heads, {heads}."])
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.first = nn.Linear(width, ratio * width)
        self.second = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Steps:
        """Return all steps; ``y`` [B, T, H] is the result."""
        bags, tokens, width = x.shape
        normed = self.norm1(x)
        joined = self.qkv(normed).view(bags, tokens, 3, self.heads, -1)
        q, k, v = joined.permute(2, 0, 3, 1, 4)  # [B, h, T, d] each
        attention = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
        heard = (attention @ v).transpose(1, 2).reshape(bags, tokens, width)
        projected = self.project(heard)
        u = x + projected
        normed_u = self.norm2(u)
        hidden = torch.nn.functional.gelu(self.first(normed_u))
        moved = self.second(hidden)
        return Steps(
            x, normed, q, k, v, attention, heard, projected, u, normed_u, hidden, moved, u + moved
        )


def rollout(maps: list[Tensor]) -> Tensor:
    r"""Return what the first token is made of, by the maps [B, T, T] of every layer in order.

    The first row of :math:`(I + M_L) \cdots (I + M_1)` without its first entry, [B, T - 1]
    (Abnar and Zuidema, ACL 2020); rows are not normalised again.
    """
    row = torch.zeros_like(maps[0][:, :1])  # [B, 1, T]
    row[..., 0] = 1
    for one in reversed(maps):
        row = row + row @ one
    return row[:, 0, 1:]
