"""Weights of a graph's edges that are learnt from how alike their ends are."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from mil.nn.adjacency import Adjacency
from mil.nn.segments import at_least_single, segment_sum

EDGES = 1 << 16
"""Edges whose ends are held side by side at once."""


@dataclass(frozen=True)
class LearntGraph:
    """A symmetric graph whose weights [E] have a gradient; ``@`` is its product with nodes."""

    graph: Adjacency
    weight: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return A x [N, F] of x [N, F], differentiable by both; float32 or better."""
        with torch.autocast(x.device.type, enabled=False):
            return _Product.apply(at_least_single(x), self.weight, self.graph)


class EdgeMetric(nn.Module):
    r"""Let edges between alike nodes weigh more, after DeepGraphSurv (Li et al., MICCAI 2018).

    .. math::

        w_{ij} = a_{ij} + \alpha \exp(-\|M (x_i - x_j)\|^2 / m) \quad \text{where } a_{ij} \ne 0

    then divided by :math:`\sqrt{d_i d_j}`, d the sums of a node's weights. The metric M and alpha
    are learnt, alpha from 0.01 as theirs. There all N^2 pairs get a weight, which limits bags to
    about a thousand instances, and a slip of a sign adds the inner product to what should be a
    distance; here the graph keeps its edges.

    Parameters
    ----------
    width : D of the nodes.
    metric : m, rows of M.

    Shapes
    ------
    x [N, D] and a symmetric graph, not normalised -> the normalised graph with its new weights.
    """

    def __init__(self, width: int, metric: int = 64) -> None:
        super().__init__()
        self.metric = nn.Linear(width, metric, bias=False)
        self.log_alpha = nn.Parameter(torch.tensor(0.01).log())

    def forward(self, x: Tensor, graph: Adjacency) -> LearntGraph:
        """Return the graph with learnt weights, normalised."""
        p = at_least_single(self.metric(x))  # [N, m]
        ends = zip(graph.target.split(EDGES), graph.source.split(EDGES), strict=True)
        apart = [checkpoint(_distance, p, *one, use_reentrant=False) for one in ends]
        alike = (-torch.cat(apart) / p.shape[1]).exp()  # [E]
        weight = graph.weight + self.log_alpha.exp() * alike
        degree = segment_sum(weight, graph.offsets)
        root = torch.where(degree > 0, degree, 1).rsqrt()  # a node without edges is in none
        return LearntGraph(graph, weight * root[graph.target] * root[graph.source])


def _distance(p: Tensor, target: Tensor, source: Tensor) -> Tensor:
    return (p[target] - p[source]).square().sum(1)


class _Product(torch.autograd.Function):
    """A x; the gradient by x is A g, that by the weight of j -> i is <g_i, x_j>."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, graph: Adjacency) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.graph = graph
        return replace(graph, weight=weight).product(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        graph = ctx.graph
        ends = zip(graph.target.split(EDGES), graph.source.split(EDGES), strict=True)
        of_weight = torch.cat([(grad[target] * x[source]).sum(1) for target, source in ends])
        return replace(graph, weight=weight).product(grad), of_weight.to(weight.dtype), None
