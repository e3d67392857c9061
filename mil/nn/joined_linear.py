"""A linear layer on several tensors side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

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
        first, *others = self.weight.split([part.shape[1] for part in parts], 1)
        y = linear(parts[0], first, self.bias)
        for part, weight in zip(parts[1:], others, strict=True):
            y = torch.addmm(y, part, weight.t())
        return y
