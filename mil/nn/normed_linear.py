"""A linear layer behind a norm, whose result is made again for the gradient and not kept."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mil.nn.segments import at_least_single

VALUES = {"cpu": 1 << 21, "cuda": 1 << 25}
"""So many values of the norm exist at a time, by kind of device: 8 and 128 MiB."""


def normed_linear(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear, padding: int = 0) -> Tensor:
    r"""Return the layer of the norm of x [N, D] behind rows of zeros: [padding + N, H].

    With :math:`\hat x` the rows at mean 0 and variance 1,

    .. math:: W (\gamma \odot \hat x + \beta) + b = (W \odot \gamma)\, \hat x + (W \beta + b)

    so that only x is kept for the gradient, and features, which learn nothing, cost no product
    with W for that of :math:`\gamma` and :math:`\beta`.
    """
    with torch.autocast(x.device.type, enabled=False):
        weight, bias = layer.weight * norm.weight, layer.weight @ norm.bias
        bias = bias if layer.bias is None else bias + layer.bias
    return _NormedLinear.apply(x, weight, bias, norm.eps, padding)


class _NormedLinear(torch.autograd.Function):
    r""":math:`W \hat x + b`, some rows at a time, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.epsilon, ctx.padding, ctx.of_bias = epsilon, padding, bias.dtype
        kind = x.device.type
        low = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if low else weight.dtype
        weight, bias = weight.to(dtype), bias.to(dtype)
        y = x.new_empty(padding + len(x), len(weight), dtype=dtype)
        y[:padding] = 0
        for rows in _runs(x):
            normed = _normed(x[rows], epsilon)[1].to(dtype)
            torch.addmm(bias, normed, weight.t(), out=y[padding:][rows])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad[ctx.padding :]
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight)
        for rows in _runs(x):
            single, normed, *more = _normed(x[rows], ctx.epsilon)
            of_weight += grad[rows].t() @ normed.to(grad.dtype)  # as the product was made
            if of_x is not None:
                of_normed = (grad[rows] @ weight.to(grad.dtype)).to(single.dtype)
                of_x[rows] = torch.ops.aten.native_layer_norm_backward(
                    of_normed, single, single.shape[1:], *more, None, None, (True, False, False)
                )[0]
        return of_x, of_weight, grad.sum(0).to(ctx.of_bias), None, None


def _normed(x: Tensor, epsilon: float) -> tuple[Tensor, ...]:
    """Return rows, in float32 or better, the same at mean 0 and variance 1, and what they had."""
    x = at_least_single(x)
    return x, *torch.native_layer_norm(x, x.shape[1:], None, None, epsilon)


def _runs(x: Tensor) -> Iterator[slice]:
    step = max(1, VALUES.get(x.device.type, VALUES["cuda"]) // x.shape[1])
    for start in range(0, len(x), step):
        yield slice(start, start + step)
