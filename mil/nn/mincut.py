"""Pooling the nodes of a graph into a few clusters that should cut few edges."""

from typing import NamedTuple

import torch
from torch import Tensor

from mil.nn.adjacency import Adjacency
from mil.nn.segments import bags_of, segment_sum


class MinCut(NamedTuple):
    """What ``mincut_pool`` makes of B bags.

    Shapes
    ------
    pooled [B, K, H]: sums of nodes by cluster. mincut [B]: -1 where no edge is cut, up to 0.
    ortho [B]: 0 where clusters are of one size and no node is in two, up to 2.
    """

    pooled: Tensor
    mincut: Tensor
    ortho: Tensor


def mincut_pool(x: Tensor, assignment: Tensor, graph: Adjacency, offsets: Tensor) -> MinCut:
    r"""Pool nodes into K clusters (Bianchi, Grattarola and Alippi, ICML 2020), bag by bag.

    .. math::

        X' = S^\top X, \qquad
        \mathrm{mincut} = -\frac{\mathrm{tr}(S^\top A S)}{\mathrm{tr}(S^\top D S)}, \qquad
        \mathrm{ortho} = \Big\| \frac{S^\top S}{\|S^\top S\|} - \frac{I}{\sqrt K} \Big\|

    Neither A nor D is ever dense: :math:`\mathrm{tr}(S^\top A S)` is the sum of
    :math:`S \odot (A S)`, and :math:`\mathrm{tr}(S^\top D S)` that of degrees times squared rows of
    S. A bag without edges has nothing to cut: mincut 0.

    Parameters
    ----------
    x : nodes [N, H].
    assignment : S [N, K], rows sum to 1.
    graph : of the N nodes.
    offsets : [B + 1] of the bags.
    """
    kept = segment_sum((assignment * (graph @ assignment)).sum(1), offsets)  # [B]
    degrees = graph.degrees.to(assignment.dtype)
    all_edges = segment_sum(degrees * assignment.square().sum(1), offsets)
    mincut = -kept / torch.where(all_edges > 0, all_edges, 1)

    parts = bags_of(assignment, offsets)
    pooled = torch.stack([s.T @ one for s, one in zip(parts, bags_of(x, offsets), strict=True)])
    gram = torch.stack([s.T @ s for s in parts])  # [B, K, K]
    gram = gram / torch.linalg.matrix_norm(gram, keepdim=True)
    clusters = assignment.shape[1]
    even = torch.eye(clusters, dtype=gram.dtype, device=gram.device) / clusters**0.5
    return MinCut(pooled, mincut, torch.linalg.matrix_norm(gram - even))


def pooled_adjacency(assignment: Tensor, graph: Adjacency, offsets: Tensor) -> Tensor:
    r"""Return the graph of clusters [B, K, K]: :math:`S^\top A S` without loops, normalised."""
    moved = graph @ assignment
    parts = zip(bags_of(assignment, offsets), bags_of(moved, offsets), strict=True)
    between = torch.stack([s.T @ product for s, product in parts])
    between = between - torch.diag_embed(between.diagonal(dim1=1, dim2=2))
    root = between.sum(2).sqrt() + 1e-15  # [B, K]
    return between / root.unsqueeze(2) / root.unsqueeze(1)
