"""From the sixteen instances of a region to one vector."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from mil.bags import REGION
from mil.nn.instance_linear import InstanceLinear, KeepsProducts


class RegionEmbedding(KeepsProducts, nn.Sequential):
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
        layer, norm, relu = self
        known = self.known()
        if known is not None:
            return _Known.apply(x, *layer.parameters(), *norm.parameters(), *known)
        if self.products is None or torch.is_autocast_enabled(x.device.type):
            h = layer(x)  # in mixed precision it keeps its product itself
            h = relu(norm(h.view(-1, REGION, h.shape[1])))  # [M, 16, H]: no view behind, whose
            return h.sum(1) / REGION  # gradient is a copy; and that of a mean is as large as h
        h = linear(x, *layer.parameters())
        h = h.view(-1, REGION, h.shape[1])
        y, mean, spread = torch.native_layer_norm(h, h.shape[2:], *norm.parameters(), norm.eps)
        regions = y.relu_().sum(1) / REGION
        self.keep(regions, h, y, mean, spread)
        return regions


class _Known(torch.autograd.Function):
    """Regions that are there already, with the gradient by the parameters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Tensor) -> Tensor:
        _, _, scale, shift, regions, *made = given
        ctx.save_for_backward(x, scale, shift, *made)
        return regions.view_as(regions)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, h, y, mean, spread = ctx.saved_tensors
        aten, every = torch.ops.aten, (True, True, True)
        of_y = (grad / REGION).unsqueeze(1).expand_as(y)
        of_y = aten.threshold_backward(of_y, y, 0)
        of_h, *of_norm = aten.native_layer_norm_backward(
            of_y, h, h.shape[2:], mean, spread, scale, shift, every
        )
        of_h = of_h.flatten(0, 1)
        return None, of_h.t() @ x, of_h.sum(0), *of_norm, *[None] * 5
