"""Positions of instances on a map by convolutions of three sizes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from mil.nn.grid_stencil import stencil, window_cells


class PPEG(nn.Module):
    r"""Pyramid position encoding of TransMIL (Shao et al., NeurIPS 2021).

    .. math:: y = x + K_7 * x + K_5 * x + K_3 * x

    with depth-wise convolutions that have biases and zeros around the map. It is computed as one
    7 x 7 convolution, whose kernel is the sum of the three and 1 in the centre.

    Parameters
    ----------
    width : H, of the instances.
    """

    SIDE = 7

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, side, padding=side // 2, groups=width)
            for side in (self.SIDE, 5, 3)
        )

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return the one kernel [H, 7, 7], with the centre that keeps x, and its bias [H]."""
        total, bias = 0.0, 0.0
        for conv in self.convolutions:
            total = total + pad(conv.weight[:, 0], [(self.SIDE - conv.kernel_size[0]) // 2] * 4)
            bias = bias + conv.bias
        centre = torch.zeros_like(total)
        centre[:, self.SIDE // 2, self.SIDE // 2] = 1
        return total + centre, bias

    def forward(self, x: Tensor, side: int) -> Tensor:
        """Return [side^2, H] of a square map [side^2, H], row by row."""
        kernel, bias = self.kernel()
        image = x.view(1, side, side, -1).permute(0, 3, 1, 2)
        y = conv2d(image, kernel.unsqueeze(1), bias, padding=self.SIDE // 2, groups=x.shape[1])
        return y.permute(0, 2, 3, 1).reshape(side * side, -1)

    def on_grid(self, x: Tensor, cells: Tensor) -> Tensor:
        """Return [N, H] of instances [N, H] at cells [N, 3]: bag, row, column.

        Cells without an instance are zeros of the map; instances that share one are, to others and
        each other, their mean.
        """
        kernel, bias = self.kernel()
        taken, of, count = cells.unique(dim=0, return_inverse=True, return_counts=True)
        if len(taken) == len(cells):
            mean = torch.empty_like(x).index_copy(0, of, x)
        else:
            mean = x.new_zeros(len(taken), x.shape[1]).index_add(0, of, x) / count[:, None]
        y = stencil(mean, kernel, window_cells(taken, taken, self.SIDE)) + bias
        return x + (y - mean)[of]
