"""A transformer layer on a few tokens, all of whose steps can be looked at."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

from mil.nn.self_attention import refuse_broken_heads

ACTIVATIONS = {"gelu": gelu, "relu": relu}


class Steps(NamedTuple):
    """What a block makes of tokens x [B, T, H], step by step.

    Shapes
    ------
    q, k, v [B, h, T, I/h] of a block I wide inside; attention [B, h, T, T]: weights after the
    softmax; heard [B, T, I]: joined heads; entered, projected, u, hidden, moved and inside: see
    ``TokenBlock``; y [B, T, H]: the result.
    """

    x: Tensor
    entered: Tensor
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
    inside: Tensor
    y: Tensor


class TokenBlock(nn.Module):
    r"""Pre-norm transformer layer that keeps its attention, T^2 values a head.

    .. math::

        u = E x + P\, \mathrm{heard}(\mathrm{LN}(x)), \qquad
        y = L\, (u + W_2\, \mathrm{GELU}(W_1 \mathrm{LN}(u)))

    q, k and v have no bias; their rows in one weight are q, then k, then v, head after head. E and
    L are linear layers where the block is of another width inside, else nothing.

    Parameters
    ----------
    width : H.
    heads : of the attention; they divide I.
    inner : width I inside; None: H.
    ratio : W_1 is so many times as wide as I.
    activation : between W_1 and W_2, ``gelu`` or ``relu``.
    epsilon : of the norms, beside the variance.

    Raises
    ------
    mil.problems.InputError : ``heads`` do not divide the width.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int | None = None,
        ratio: int = 2,
        activation: str = "gelu",
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        same, inner = inner in (None, width), inner or width
        refuse_broken_heads(inner, heads)
        self.heads = heads
        self.enter = nn.Identity() if same else nn.Linear(width, inner)
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.project = nn.Linear(inner, inner)
        self.norm2 = nn.LayerNorm(inner, eps=epsilon)
        self.first = nn.Linear(inner, ratio * inner)
        self.activation = ACTIVATIONS[activation]
        self.second = nn.Linear(ratio * inner, inner)
        self.leave = nn.Identity() if same else nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Steps:
        """Return all steps; ``y`` [B, T, H] is the result."""
        bags, tokens, _ = x.shape
        entered, normed = self.enter(x), self.norm1(x)
        joined = self.qkv(normed).view(bags, tokens, 3, self.heads, -1)
        q, k, v = joined.permute(2, 0, 3, 1, 4)  # [B, h, T, d] each
        attention = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
        heard = (attention @ v).transpose(1, 2).reshape(bags, tokens, -1)
        projected = self.project(heard)
        u = entered + projected
        normed_u = self.norm2(u)
        hidden = self.activation(self.first(normed_u))
        moved = self.second(hidden)
        inside = u + moved
        y = self.leave(inside)
        return Steps(
            x,
            entered,
            normed,
            q,
            k,
            v,
            attention,
            heard,
            projected,
            u,
            normed_u,
            hidden,
            moved,
            inside,
            y,
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
