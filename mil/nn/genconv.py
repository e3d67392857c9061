"""Message passing in which a node weighs its incoming messages by a softmax."""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mil.nn.recompute import recomputed
from mil.nn.segments import segment_ids, segment_max, segment_sum

EDGES = 8_192
"""Edges whose messages are held at once, [EDGES, H]; so few stay in a processor's cache."""

EPSILON = 1e-7
"""Added to every message, so that it is positive."""


class Incoming(NamedTuple):
    """The edges of a graph of N nodes, by the node they end in.

    Shapes
    ------
    source [E] int64: where the edges start. offsets [N + 1] int64: those that end in node i are the
    edges ``offsets[i] .. offsets[i+1] - 1``.
    """

    source: Tensor
    offsets: Tensor


def incoming(edges: Tensor, nodes: int) -> Incoming:
    """Order edges [2, E], source then target, by their target."""
    target, order = edges[1].sort(stable=True)
    offsets = torch.searchsorted(target, torch.arange(nodes + 1, device=edges.device))
    return Incoming(edges[0][order], offsets)


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
    x [N, H] and the incoming edges -> [N, H].
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

    def forward(self, x: Tensor, graph: Incoming) -> Tensor:
        """Return the nodes [N, H] after one round of messages."""
        messages = x.relu().to(self.t.dtype) + EPSILON  # [N, H]; never half precision
        return recomputed(self.mlp, x + softmax_aggregate(messages, self.t, graph))


def softmax_aggregate(messages: Tensor, t: Tensor, edges: Incoming) -> Tensor:
    """Return for every node the softmax-weighted sum [N, H] of its sources' ``messages`` [N, H].

    Memory is that of the nodes, O(N H), in both directions: the E x H messages on the edges are
    made block by block, and made again for the gradient.
    """
    return _SoftmaxAggregate.apply(messages, t, *edges)


class _SoftmaxAggregate(torch.autograd.Function):
    """The sum a_i above, and its gradient from m, t, a and the softmax's logarithmic denominators.

    With w_ij the weight of edge j -> i and g_i the gradient by a_i, channel by channel:
    da_i/dm_j = w_ij (1 + t (m_j - a_i)) and da_i/dt = sum_j w_ij (m_j - a_i) m_j.
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, t: Tensor, source: Tensor, offsets: Tensor) -> Tensor:
        a, log_total = torch.empty_like(m), torch.empty_like(m)  # [N, H]
        for nodes, its in _blocks(offsets):
            ends = offsets[nodes.start : nodes.stop + 1] - offsets[nodes.start]  # [n + 1]
            m_j = m[source[its]]  # [e, H]
            largest = segment_max(t * m_j, ends)  # [n, H]
            powers = (t * m_j - largest[segment_ids(ends)]).exp()
            total = segment_sum(powers, ends).clamp(min=1)  # the largest adds 1; 0: no edge
            a[nodes] = segment_sum(powers * m_j, ends) / total
            log_total[nodes] = largest + total.log()
        ctx.save_for_backward(m, t, source, offsets, a, log_total)
        return a

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        m, t, source, offsets, a, log_total = ctx.saved_tensors
        grad_m, grad_t = torch.zeros_like(m), torch.zeros_like(t)
        for nodes, its in _blocks(offsets):
            i = segment_ids(offsets[nodes.start : nodes.stop + 1]) + nodes.start  # [e]
            j = source[its]
            m_j = m[j]  # [e, H]
            g_w = grad[i] * (t * m_j - log_total[i]).exp()
            above = m_j - a[i]
            grad_m.index_add_(0, j, g_w * (1 + t * above))
            grad_t += (g_w * above * m_j).sum()
        return grad_m, grad_t, None, None


def _blocks(offsets: Tensor) -> list[tuple[slice, slice]]:
    """Return runs of nodes, and their edges: about ``EDGES``, more only where one node has more."""
    nodes, edges = len(offsets) - 1, int(offsets[-1])
    every = torch.arange(0, edges, EDGES, device=offsets.device)
    holding = torch.searchsorted(offsets, every, right=True) - 1  # the node each of them ends in
    ends = torch.cat([offsets.new_tensor([0, nodes]), holding]).unique()
    pairs = zip(pairwise(ends.tolist()), pairwise(offsets[ends].tolist()), strict=True)
    return [(slice(*run), slice(*held)) for run, held in pairs]
