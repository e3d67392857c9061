"""The layer that reads features, whose product need not be made twice in a step."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

KEPT = 1 << 28
"""Bytes of products that a layer keeps at most: 170,000 instances of 384 columns."""


class InstanceLinear(nn.Linear):
    """A linear layer on instance features, by far the largest matrix of a network.

    A step goes over its bags with one and the same weight several times: without gradient to see
    what is predicted, then with it to learn. Inside ``kept_products`` the passes with gradient take
    the products of those without, bag by bag in the same order, to the bit.
    """

    products: deque[Tensor | None] | None = None
    room: int = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W x + b`` [N, H] of features [N, D]."""
        if self.products and torch.is_grad_enabled():
            known = self.products.popleft()
            if known is not None:
                return _Known.apply(x, self.weight, self.bias, known)
            return super().forward(x)
        product = super().forward(x)
        if self.products is not None and not torch.is_grad_enabled():
            self.room -= product.nbytes
            self.products.append(product if self.room >= 0 else None)
        return product


@contextmanager
def kept_products(module: nn.Module) -> Iterator[None]:
    """Let the layers below ``module`` keep products; their weights may not change meanwhile."""
    layers = [layer for layer in module.modules() if isinstance(layer, InstanceLinear)]
    try:
        for layer in layers:
            layer.products, layer.room = deque(), KEPT
        yield
    finally:
        for layer in layers:
            layer.products = None


class _Known(torch.autograd.Function):
    """A product that is there already, with the gradient of a linear layer by its parameters."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, product: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.dtype = weight.dtype
        ctx.biased = bias is not None
        return product.view_as(product)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        of_weight = grad.t() @ x.to(grad.dtype)  # in mixed precision as the product was made
        of_bias = grad.sum(0).to(ctx.dtype) if ctx.biased else None
        return None, of_weight.to(ctx.dtype), of_bias, None
