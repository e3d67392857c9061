"""A linear layer on several tensors side by side."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

COLUMNS = 1024
"""So many are put side by side for one product; a copy of more costs more than it saves."""


class JoinedLinear(nn.Linear):
    r"""A linear layer on :math:`[x_0, x_1, \ldots]`.

    .. math:: y = W [x_0, x_1, \ldots] + b = \sum_i W_i x_i + b

    with :math:`W_i` the columns of W that meet :math:`x_i`. Wide parts are taken one by one: no
    tensor as wide as all is made, and a part that needs no gradient costs none.

    Shapes
    ------
    parts [N, D_i], whose widths add up to that of W -> [N, H].
    """

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Return [N, H]."""
        if self.in_features <= COLUMNS:
            return super().forward(torch.cat(list(parts), 1))
        weight, bias = self.weight, self.bias
        kind = parts[0].device.type
        if torch.is_autocast_enabled(kind):
            half = torch.get_autocast_dtype(kind)
            weight, bias = weight.to(half), None if bias is None else bias.to(half)
            parts = [part.to(half) for part in parts]
        return _Joined.apply(weight, bias, *parts)


class _Joined(torch.autograd.Function):
    """The sum of the parts' products; their gradients by the weight are written side by side."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *parts)
        ctx.biased = bias is not None
        first, *others = zip(parts, _columns(weight, parts), strict=True)
        y = nn.functional.linear(*first, bias)
        for part, columns in others:
            y.addmm_(part, columns.t())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *parts = ctx.saved_tensors
        of_parts = [
            grad @ columns if needed else None
            for columns, needed in zip(
                _columns(weight, parts), ctx.needs_input_grad[2:], strict=True
            )
        ]
        of_weight = None
        if ctx.needs_input_grad[0]:
            of_weight = torch.empty_like(weight)
            for part, columns in zip(parts, _columns(of_weight, parts), strict=True):
                torch.mm(grad.t(), part, out=columns)
        of_bias = grad.sum(0) if ctx.biased else None
        return of_weight, of_bias, *of_parts


def _columns(weight: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the columns of the weight [H, D] that meet each part."""
    return weight.split([part.shape[1] for part in parts], 1)
