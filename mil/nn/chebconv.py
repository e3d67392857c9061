"""Graph convolution by Chebyshev polynomials."""

import torch
from torch import Tensor, nn

from mil.nn.adjacency import Adjacency
from mil.nn.edge_metric import LearntGraph
from mil.nn.instance_linear import FeatureLinear
from mil.nn.segments import at_least_single


class ChebConv(nn.Module):
    r"""Chebyshev graph convolution (Defferrard, Bresson and Vandergheynst, NeurIPS 2016).

    .. math::

        y = \sum_{k < K} T_k(\tilde L)\, x\, W_k + b, \qquad
        T_0 = 1, \quad T_1 = \tilde L, \quad T_k = 2 \tilde L T_{k-1} - T_{k-2}

    With :math:`L = I - \hat A` and its largest eigenvalue taken as 2, :math:`\tilde L = -\hat A`:
    one sparse product an order, and no eigenvalue to be found. They are made behind W, H wide and
    not D, by Clenshaw's recurrence :math:`b_k = x W_k + 2 \tilde L b_{k+1} - b_{k+2}`.

    torchmil puts orders before nodes and reshapes, which mixes features of different nodes; it is
    no Chebyshev convolution.

    Parameters
    ----------
    width : D.
    out : H.
    orders : K, 1 or more; nodes hear of those up to K - 1 steps away.

    Shapes
    ------
    x [N, D] and the normalised graph -> [N, H].
    """

    def __init__(self, width: int, out: int, orders: int = 3) -> None:
        super().__init__()
        self.weights = nn.ModuleList(FeatureLinear(width, out, bias=False) for _ in range(orders))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, graph: Adjacency | LearntGraph) -> Tensor:
        """Return the nodes [N, H]."""
        y, before = at_least_single(self.weights[-1](x)), None  # b_{k+1} and b_{k+2}
        for k in range(len(self.weights) - 2, -1, -1):
            here = at_least_single(self.weights[k](x)).sub_(graph @ y, alpha=2 if k else 1)
            if before is not None:
                here.sub_(before)
            y, before = here, y
        return y.add_(self.bias)
