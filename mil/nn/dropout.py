"""Dropout whose masks cost a CPU little time, and behind an activation no memory.

On a CPU ``torch.nn.Dropout`` draws for 8 ns an element, as long as the product with 384 columns
that made it takes. Here a number of 64 bits decides on four elements, and the share is right to
1 / 131,072. Behind an activation the gradient follows from the output alone, so that no mask is
kept. Elsewhere PyTorch's own dropout is taken. Both draw from PyTorch's global generators.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout

LEVELS = 1 << 16
"""Values of the 16 bits that decide on an element."""

Activation = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor, float], Tensor]


class Dropout(nn.Dropout):
    """Dropout of ``p`` of the values (Srivastava et al., JMLR 2014); any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x, in training with zeros and the others divided by 1 - p."""
        return dropped(x, self.p) if self.training else x


def dropped(x: Tensor, p: float) -> Tensor:
    """Return x with a share ``p`` of zeros and the others divided by 1 - p."""
    if 0 < p < 1 and x.device.type == "cpu":
        return _Masked.apply(x, p)
    return dropout(x, p)


class ReLUDropout(nn.Dropout):
    """Dropout of ``p`` of the values of a ReLU; any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(x), in training with zeros and the others divided by 1 - p."""
        return _activated(x, self, torch.relu, _relu_backward)


class SigmoidDropout(nn.Dropout):
    """Dropout of ``p`` of the values of a sigmoid; any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sigmoid of x, in training with zeros and the others divided by 1 - p."""
        return _activated(x, self, torch.sigmoid, _sigmoid_backward)


def _activated(x: Tensor, layer: nn.Dropout, activation: Activation, slope: Slope) -> Tensor:
    if layer.training and 0 < layer.p < 1 and x.device.type == "cpu":
        return _Dropped.apply(x, layer.p, activation, slope)
    return dropout(activation(x), layer.p, layer.training)


def _relu_backward(grad: Tensor, y: Tensor, kept: float) -> Tensor:
    return torch.ops.aten.threshold_backward(grad, y, 0)  # only where y is 0 matters


def _sigmoid_backward(grad: Tensor, y: Tensor, kept: float) -> Tensor:
    return torch.ops.aten.sigmoid_backward(grad, y * kept)


class _Masked(torch.autograd.Function):
    """``m x / (1 - p)`` with a mask m of zeros and ones, of which the random bits are kept.

    A product with numbers is vectorised, a choice by booleans is not and takes ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        bits = _bits(x)
        ctx.save_for_backward(bits)
        ctx.p = p
        return _mask(bits, p, x).mul_(x).div_(1 - p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (bits,) = ctx.saved_tensors
        return _mask(bits, ctx.p, grad).mul_(grad).div_(1 - ctx.p), None


class _Dropped(torch.autograd.Function):
    """``m f(x) / (1 - p)`` with a mask m of zeros and ones.

    ``slope(grad, y, 1 - p)`` is grad f'(x) as a function of what came out, y = f(x) / (1 - p), and
    0 for y = 0, so that what was dropped needs no mask to be told.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, activation: Activation, slope: Slope) -> Tensor:
        y = keep_mask(x, p).mul_(activation(x)).div_(1 - p)
        ctx.save_for_backward(y)
        ctx.kept, ctx.slope = 1 - p, slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return ctx.slope(grad, y, ctx.kept).div_(ctx.kept), None, None, None


def keep_mask(like: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Return a tensor of the same shape and type, on a CPU: 0 with probability p < 1, else 1."""
    return _mask(_bits(like, generator), p, like)


def _mask(bits: Tensor, p: float, like: Tensor) -> Tensor:
    """Return zeros and ones of the type of ``like``."""
    return torch.ge(bits, _threshold(p), out=torch.empty_like(like))


def _bits(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return random int16 of the same shape, all 65,536 equally likely."""
    numbers = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    numbers.random_(torch.iinfo(torch.int64).min, None, generator=generator)  # all 64 bits
    return numbers.view(torch.int16)[: like.numel()].view(like.shape)


def _threshold(p: float) -> int:
    """Return the number that a share p of all int16 lies below."""
    return round(p * LEVELS) - LEVELS // 2
