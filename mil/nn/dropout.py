"""Activations followed by dropout, whose masks cost a CPU little time and no memory.

On a CPU ``torch.nn.Dropout`` draws for 8 ns an element, as long as the product with 384 columns
that made it takes, and keeps a mask as large as its input. Here a number of 64 bits decides on four
elements, the share is right to 1 / 131,072, and the gradient follows from the output alone.
Elsewhere PyTorch's own dropout is taken. Both draw from PyTorch's global generators.
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
Slope = Callable[[Tensor, Tensor], Tensor]


class ReLUDropout(nn.Dropout):
    """Dropout of ``p`` of the values of a ReLU (Srivastava et al., JMLR 2014); any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(x), in training with zeros and the others divided by 1 - p."""
        return _dropped(x, self, torch.relu, _relu_backward)


class SigmoidDropout(nn.Dropout):
    """Dropout of ``p`` of the values of a sigmoid; any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sigmoid of x, in training with zeros and the others divided by 1 - p."""
        return _dropped(x, self, torch.sigmoid, torch.ops.aten.sigmoid_backward)


def _dropped(x: Tensor, layer: nn.Dropout, activation: Activation, slope: Slope) -> Tensor:
    if layer.training and 0 < layer.p < 1 and x.device.type == "cpu":
        return _Dropped.apply(x, layer.p, activation, slope)
    return dropout(activation(x), layer.p, layer.training)


def _relu_backward(grad: Tensor, y: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(grad, y, 0)


class _Dropped(torch.autograd.Function):
    """``m f(x) / (1 - p)`` with a mask m of zeros and ones.

    ``slope(grad, y)`` is grad f'(x) as a function of y = f(x), and 0 for y = 0, so that what was
    dropped needs no mask to be told.
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
        return ctx.slope(grad, y * ctx.kept).div_(ctx.kept), None, None, None


def keep_mask(like: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Return a tensor of the same shape and type, on a CPU: 0 with probability p < 1, else 1."""
    numbers = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    numbers.random_(torch.iinfo(torch.int64).min, None, generator=generator)  # all 64 bits
    bits = numbers.view(torch.int16)[: like.numel()].view(like.shape)
    return torch.ge(bits, round(p * LEVELS) - LEVELS // 2, out=torch.empty_like(like))
