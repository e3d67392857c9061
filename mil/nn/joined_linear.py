"""A linear layer on several tensors side by side."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

COLUMNS = 1024
"""So many are put side by side for one product; a copy of more costs more than it saves."""


class JoinedLinear(nn.Linear):
    r"""A linear layer on :math:`[x_0, x_1, \ldots]`.

    .. math:: y = W [x_0, x_1, \ldots] + b = \sum_i W_i x_i + b

    with :math:`W_i` the columns of W that meet :math:`x_i`. Wide parts are added up as they come:
    no tensor as wide as all is made, and where a part is made of the one before, neither are the
    gradients of all at a time.

    Parameters
    ----------
    widths : D_i, of the parts.
    out : H.
    bias : have b.

    Shapes
    ------
    parts [N, D_i] -> [N, H].
    """

    def __init__(self, widths: Sequence[int], out: int, bias: bool = True) -> None:
        super().__init__(sum(widths), out, bias)
        self.widths = list(widths)

    def forward(self, parts: Iterable[Tensor]) -> Tensor:
        """Return [N, H]."""
        if self.in_features <= COLUMNS:
            return super().forward(torch.cat(list(parts), 1))
        y = None
        for part, columns in zip(parts, self.weight.split(self.widths, 1), strict=True):
            if y is None:
                y = linear(part, columns, self.bias)
            else:  # in mixed precision in that of the first product
                y.addmm_(part.to(y.dtype), columns.t().to(y.dtype))
        return y
