"""Linear layers on what a norm or an activation makes, which is made again and not kept."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu

from mil.nn.segments import at_least_single

VALUES = 1 << 21
"""So many values are made at a time: 8 MiB in single precision."""

Make = Callable[[Tensor], tuple[Tensor, ...]]
Slope = Callable[..., Tensor]


def normed_linear(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear, padding: int = 0) -> Tensor:
    r"""Return the layer of the norm of x [N, D] behind rows of zeros: [padding + N, H].

    With :math:`\hat x` the rows at mean 0 and variance 1,

    .. math:: W (\gamma \odot \hat x + \beta) + b = (W \odot \gamma)\, \hat x + (W \beta + b)

    so that only x is kept for the gradient, and features, which learn nothing, cost no product
    with W for that of :math:`\gamma` and :math:`\beta`.
    """

    def make(x: Tensor) -> tuple[Tensor, ...]:
        return torch.native_layer_norm(x, norm.normalized_shape, None, None, norm.eps)

    def slope(grad: Tensor, x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        wanted, given = (True, False, False), (None, None)
        return torch.ops.aten.native_layer_norm_backward(
            grad, x, norm.normalized_shape, mean, spread, *given, wanted
        )[0]

    with torch.autocast(x.device.type, enabled=False):
        weight, bias = layer.weight * norm.weight, layer.weight @ norm.bias
        bias = bias if layer.bias is None else bias + layer.bias
    return _Remade.apply(x, weight, bias, make, slope, padding)


def gelu_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return the layer of GELU(x) [N, H] of x [N, D], which alone is kept for the gradient."""
    return _Remade.apply(x, layer.weight, layer.bias, _gelu, torch.ops.aten.gelu_backward, 0)


def _gelu(x: Tensor) -> tuple[Tensor]:
    return (gelu(x),)


class _Remade(torch.autograd.Function):
    """A product with what is made of x, some rows at a time, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, make: Make, slope: Slope, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.make, ctx.slope, ctx.padding, ctx.of_bias = make, slope, padding, bias.dtype
        kind = x.device.type
        low = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if low else weight.dtype
        y = x.new_empty(padding + len(x), len(weight), dtype=dtype)
        y[:padding] = 0
        for rows in _runs(x):
            made = make(at_least_single(x[rows]))[0].to(dtype)
            torch.addmm(bias.to(dtype), made, weight.t().to(dtype), out=y[padding:][rows])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad[ctx.padding :]
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight)
        for rows in _runs(x):
            single = at_least_single(x[rows])
            made, *more = ctx.make(single)
            of_weight += grad[rows].t() @ made.to(grad.dtype)  # as the product was made
            if of_x is not None:
                of_made = (grad[rows] @ weight.to(grad.dtype)).to(single.dtype)
                of_x[rows] = ctx.slope(of_made, single, *more)
        return of_x, of_weight, grad.sum(0).to(ctx.of_bias), None, None, None


def _runs(x: Tensor) -> Iterator[slice]:
    step = max(1, VALUES // x.shape[1])
    for start in range(0, len(x), step):
        yield slice(start, start + step)
