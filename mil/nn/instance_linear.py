"""The layer that reads features, whose product need not be made twice in a step."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

KEPT = 1 << 28
"""Bytes of products that a layer keeps at most: 170,000 instances of 384 columns."""
COLUMNS, VALUES = 64, 1 << 18
"""From so many columns and values of features on oneDNN's product takes less time than MKL's."""


class FeatureLinear(nn.Linear):
    """A linear layer whose products of given instances are made as fast as can be.

    On a CPU with AVX-512 those in float32 are oneDNN's, as in a compiled network: measured 5 to
    20 % faster than those of PyTorch's own linear layer, and equal to them but for rounding. What
    has a gradient itself is left to that layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W x + b`` [N, H] of instances [N, D]."""
        if not self._suits(x):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return _onednn_product(x, self.weight, self.bias)
        if x.requires_grad:
            return super().forward(x)
        return _Known.apply(x, self.weight, self.bias, None)

    def _suits(self, x: Tensor) -> bool:
        """Return whether oneDNN can make the product and is worth its start."""
        return (
            ONEDNN is not None
            and self.out_features >= COLUMNS
            and x.numel() >= VALUES
            and x.ndim == 2
            and x.dtype == self.weight.dtype == torch.float32
            and x.device.type == self.weight.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.enabled
        )


class InstanceLinear(FeatureLinear):
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


def _onednn() -> Callable[..., Tensor] | None:
    """Return what PyTorch's compiler makes of a linear layer, where it is as we know it.

    The operator is not documented: another form of it than this one is left alone.
    """
    known = (
        "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, "
        "str? algorithm) -> Tensor Y"
    )
    found = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if found is None or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return found.default if str(found.default._schema) == known else None


ONEDNN = _onednn()


def _onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return ONEDNN(x, weight, bias, "none", [], "")


class _Known(torch.autograd.Function):
    """A product that is there already, or oneDNN's, with a linear layer's gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, product: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.dtype = weight.dtype
        ctx.biased = bias is not None
        return _onednn_product(x, weight, bias) if product is None else product.view_as(product)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        of_weight = grad.t() @ x.to(grad.dtype)  # in mixed precision as the product was made
        of_bias = grad.sum(0).to(ctx.dtype) if ctx.biased else None
        return None, of_weight.to(ctx.dtype), of_bias, None
