"""The map of a slide, with as few cells and tokens as there is tissue."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mil.bags import Bag
from mil.nn.grid_positions import grid_positions
from mil.nn.grid_stencil import window_cells


@dataclass(frozen=True)
class ReducedMap:
    """Where the N instances of packed bags lie, and the T tokens that windows make of them.

    Shapes
    ------
    cell [N]: of every instance, from 0 to M - 1, or -1 if it lies outside of a canvas. tokens
    [T, 3]: bag, row and column on the reduced map. offsets [B + 1] of the tokens. windows [k^2, T]:
    cells that each token sees, see ``window_cells``.

    Attributes
    ----------
    cells : their number M.
    """

    cell: Tensor
    cells: int
    tokens: Tensor
    offsets: Tensor
    windows: Tensor

    @classmethod
    def of(
        cls, bag: Bag, model: str, strides: list[int], kernel: int, canvas: int | None
    ) -> "ReducedMap":
        """Return the maps of bags, each reduced by a stride of its own, at most 4.

        Parameters
        ----------
        model : who reads them, for errors.
        kernel : odd side k of the windows that become tokens.
        canvas : tokens are all those of a map with so many rows and columns, and what lies outside
            is left out; None: only those nearest to an instance.
        """
        at = grid_positions(bag, model)  # [N, 2]
        cell, tokens, windows, cells = [], [], [], 0
        for number, (start, end) in enumerate(pairwise(bag.offsets.tolist())):
            own, stride = at[start:end], strides[number]
            if canvas is None:
                inside = torch.ones_like(own[:, 0], dtype=torch.bool)
                centres = torch.div(own + stride // 2, stride, rounding_mode="floor").unique(dim=0)
            else:
                inside = (own < canvas).all(1)
                side = torch.arange(reduced_side(canvas, stride), device=own.device)
                centres = torch.cartesian_prod(side, side)
            taken, place = own[inside].unique(dim=0, return_inverse=True)
            cell.append(own.new_full((len(own),), -1).masked_scatter(inside, place + cells))
            seen = window_cells(_of_bag(taken), _of_bag(centres), kernel, stride)
            windows.append(torch.where(seen >= 0, seen + cells, -1))
            tokens.append(_of_bag(centres, number))
            cells += len(taken)
        ends = torch.tensor([0, *map(len, tokens)], device=at.device).cumsum(0)
        return cls(torch.cat(cell), cells, torch.cat(tokens), ends, torch.cat(windows, 1))

    def gather(self, features: Tensor, average: bool) -> Tensor:
        """Return what is in each cell [M, D]: the mean or the sum of its instances [N, D]."""
        inside = self.cell >= 0
        if self.cells == len(features):
            return torch.empty_like(features).index_copy(0, self.cell, features)
        total = features.new_zeros(self.cells, features.shape[1])
        total = total.index_add(0, self.cell[inside], features[inside])
        return total / self.counts().unsqueeze(1) if average else total

    def counts(self) -> Tensor:
        """Return the number of instances [M] of each cell."""
        return torch.bincount(self.cell[self.cell >= 0], minlength=self.cells)

    def around(self, kernel: int) -> Tensor:
        """Return the tokens [kernel^2, T] around each token."""
        return window_cells(self.tokens, self.tokens, kernel)

    def shares(self, values: Tensor) -> Tensor:
        """Divide values [T] of tokens evenly among the instances of their windows: [N]."""
        there = self.windows >= 0  # [k^2, T]
        count = (self.counts()[self.windows.clamp(min=0)] * there).sum(0)  # [T], of instances
        each = (values / count.clamp(min=1)).expand_as(there)[there]
        share = values.new_zeros(self.cells).index_add(0, self.windows[there], each)  # [M]
        return torch.where(self.cell >= 0, share[self.cell], 0)


def reduced_side(side: int, stride: int) -> int:
    """Return how many rows a stride leaves of a map with ``side`` rows."""
    return (side - 1) // stride + 1


def _of_bag(at: Tensor, number: int = 0) -> Tensor:
    """Return bag, row and column [T, 3] of rows and columns [T, 2]."""
    return torch.cat([at.new_full((len(at), 1), number), at], 1)
