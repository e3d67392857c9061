"""Mean and standard deviation of the features of the training part."""

from collections.abc import Sequence

from torch import Tensor

from mil.bag_folder import BagFolder

ROWS = 8192
"""Rows taken to float64 at a time: 64 MB for 1024 columns."""


def fit_scaling(bags: BagFolder, patients: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [D] over all instances of the patients.

    In float64 and by blocks of rows; shifted by the first rows' mean, so that no digits cancel.
    """
    shift = None
    count, total, squares = 0, 0.0, 0.0
    for patient in patients:
        for rows in bags.load([patient]).features.split(ROWS):
            rows = rows.double()
            shift = rows.mean(0) if shift is None else shift
            rows -= shift
            count += len(rows)
            total = total + rows.sum(0)
            squares = squares + rows.square_().sum(0)
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    return (mean + shift).float(), variance.sqrt().float()
