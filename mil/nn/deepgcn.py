"""How a graph convolution, its norm and its activation make a layer of a deep network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

BLOCKS = ("res", "res+", "dense", "plain")


def deepgcn_layer(
    x: Tensor, conv: Callable[[Tensor], Tensor], norm: nn.Module, block: str, drop: nn.Module
) -> Tensor:
    r"""Return the nodes after one layer (Li et al., DeepGCNs, ICCV 2019; DeeperGCN, 2020).

    With :math:`h = \mathrm{ReLU}(\mathrm{norm}(\mathrm{conv}(x)))` and dropout d:

    ========= ==================================================================
    ``res``   :math:`d(x + h)`
    ``res+``  :math:`x + \mathrm{conv}(d(\mathrm{ReLU}(\mathrm{norm}(x))))`
    ``dense`` :math:`d([x, h])`
    ``plain`` :math:`d(h)`
    ========= ==================================================================

    PyTorch Geometric 1, with which Patch-GCN was published, has d in ``res+`` only.

    Parameters
    ----------
    x : [N, H].
    conv : of nodes along the edges of their graph.
    norm : of [N, H].
    block : see above.
    drop : d.
    """
    if block == "res+":
        return x + conv(drop(norm(x).relu()))
    h = norm(conv(x)).relu()
    joined = {
        "res": lambda: x + h,
        "dense": lambda: torch.cat([x, h], -1),
        "plain": lambda: h,
    }
    return drop(joined[block]())
