"""Padded sequences of instances to grids and back."""

import torch
from torch import Tensor

from mil.bags import BagError


def sequence_to_grid(X: Tensor, coords: Tensor, mask: Tensor | None = None) -> Tensor:
    """Lay instances on a grid; several in one cell are averaged, cells without one are 0.

    Parameters
    ----------
    X : [B, N, D].
    coords : [B, N, 2] int64, row and column from 0; read of instances only.
    mask : [B, N], true where there is an instance; without it all are.

    Returns
    -------
    [B, rows, columns, D], differentiable by X.

    Raises
    ------
    mil.bags.BagError : an instance with a negative row or column.
    """
    mask = _real(X, mask)
    bag = mask.nonzero()[:, 0]
    place = coords[mask]
    if len(place) and place.min() < 0:
        raise BagError(
            ["coords: an instance has a negative row or column. Give the mask of padded bags."]
        )
    rows, columns = (place.max(0).values + 1).tolist()
    cell = (bag * rows + place[:, 0]) * columns + place[:, 1]
    total = X.new_zeros(len(X) * rows * columns, X.shape[2]).index_add(0, cell, X[mask])
    count = torch.bincount(cell, minlength=len(total)).clamp(min=1)
    return (total / count.unsqueeze(1)).view(len(X), rows, columns, X.shape[2])


def grid_to_sequence(grid: Tensor, coords: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what a grid [B, rows, columns, D] holds where instances are, [B, N, D]; padding is 0.

    Arguments are those of ``sequence_to_grid``.
    """
    mask = _real(coords, mask)
    place = torch.where(mask.unsqueeze(-1), coords, 0)
    bag = torch.arange(len(grid), device=grid.device).unsqueeze(1)
    return torch.where(mask.unsqueeze(-1), grid[bag, place[..., 0], place[..., 1]], 0)


def _real(sequence: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones(sequence.shape[:2], dtype=torch.bool, device=sequence.device)
    return mask.bool()
