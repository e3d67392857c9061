"""From the sixteen instances of a region to one vector."""

from torch import Tensor, nn

from mil.bags import REGION
from mil.nn.instance_linear import InstanceLinear


class RegionEmbedding(nn.Sequential):
    r"""A layer on every instance, then the mean over each region (Liu et al., AdvMIL, 2024).

    .. math:: E_m = \frac1{16} \sum_{n \in m} \mathrm{ReLU}(\mathrm{LayerNorm}(W x_n + b))

    Parameters
    ----------
    in_dim : width D of the instances.
    width : width H of the regions.

    Shapes
    ------
    x [16 M, D], rows ``16m .. 16m+15`` being region m -> [M, H].
    """

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__(InstanceLinear(in_dim, width), nn.LayerNorm(width), nn.ReLU(True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the regions [M, H]."""
        linear, norm, relu = self
        h = linear(x)
        h = relu(norm(h.view(-1, REGION, h.shape[1])))  # [M, 16, H]: no view behind, whose gradient
        return h.sum(1) / REGION  # is a copy; and that of a mean would be as large as h
