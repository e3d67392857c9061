"""Message passing in which a node weighs its incoming messages by a softmax."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mil.nn.adjacency import Adjacency
from mil.nn.segments import segment_softmax, segment_sum

EPSILON = 1e-7
"""Added to every message, so that it is positive."""

EXPONENT = 60.0
"""Up to here exp(x) and exp(-x) leave float32 room for sums of many."""


class GENConv(nn.Module):
    r"""Generalised graph convolution with softmax aggregation (Li et al., DeeperGCN, 2020).

    .. math::

        m_j = \mathrm{ReLU}(x_j) + 10^{-7}, \qquad
        a_i = \sum_{j \to i} \mathrm{softmax}_{j \to i}(t\, m_j) \odot m_j, \qquad
        y_i = \mathrm{MLP}(x_i + a_i)

    channel by channel. The MLP is Linear H -> 2H, LayerNorm, ReLU, Linear 2H -> H, with biases as
    in PyTorch Geometric 1, which Patch-GCN and AdvMIL use; the temperature t is learnt, from 1. A
    node that no edge ends in has a = 0; an edge given twice counts twice.

    Parameters
    ----------
    width : H, of the nodes and of the output.
    bias : of the linear layers; PyTorch Geometric 2 has none unless told.

    Shapes
    ------
    x [N, H] and a graph of N nodes, all of whose weights are 1 -> [N, H].
    """

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.ones(1))
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width, bias),
            nn.LayerNorm(2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, width, bias),
        )

    def forward(self, x: Tensor, graph: Adjacency) -> Tensor:
        """Return the nodes [N, H] after one round of messages."""
        messages = x.relu().to(self.t.dtype) + EPSILON  # [N, H]; never half precision
        return self.mlp(x + softmax_aggregate(messages, self.t, graph))


def softmax_aggregate(messages: Tensor, t: Tensor, graph: Adjacency) -> Tensor:
    r"""Return for every node the softmax-weighted sum [N, H] of its sources' ``messages`` [N, H].

    What a source has in the softmax is the same for all its edges, so with the 0-1 matrix A of the
    graph and :math:`p = \exp(t m)`

    .. math:: a = A (p \odot m) \oslash A p,

    two sparse products, and two with its transpose for the gradient: time and memory are those of
    nodes, and no message is laid on an edge. Where ``t messages`` goes beyond ``EXPONENT`` the
    softmax is computed edge by edge, with the memory of E H values.
    """
    if messages.numel() and float((t * messages).detach().abs().max()) > EXPONENT:
        sent = messages[graph.source]  # [E, H]
        return segment_sum(segment_softmax(t * sent, graph.offsets) * sent, graph.offsets)
    with torch.autocast(messages.device.type, enabled=False):  # sparse products are in float32
        return _SoftmaxAggregate.apply(messages, t, graph)


class _SoftmaxAggregate(torch.autograd.Function):
    r"""The sum a above and its gradient.

    With g the gradient by a, s = A p and G = g / s it is, from da_i/dm_j = w_ij (1 + t (m_j - a_i))
    and da_i/dt = sum_j w_ij (m_j - a_i) m_j with the weights w_ij = p_j / s_i,

        by m: p ((1 + t m) A^T G - t A^T (G a)),    by t: sum of p m (m A^T G - A^T (G a)).
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, t: Tensor, graph: Adjacency) -> Tensor:
        p = (t * m).exp()
        total = graph.product(p)  # [N, H]; 0: no edge
        a = torch.where(total == 0, 0, graph.product(p * m).div_(total))
        ctx.save_for_backward(m, t, total, a)
        ctx.graph = graph
        return a

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        m, t, total, a = ctx.saved_tensors
        back = ctx.graph.transposed
        shared = torch.where(total == 0, 0, grad / total)
        p = (t * m).exp()
        direct = back.product(shared).mul_(p)
        indirect = back.product(shared.mul_(a)).mul_(p)
        above = direct * m - indirect  # sum over i of g_i w_ij (m_j - a_i)
        return direct + t * above, (above * m).sum().view_as(t), None
