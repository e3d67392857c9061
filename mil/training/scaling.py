"""Mean and standard deviation of the features of the training part."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mil.bag_folder import BagFolder


def fit_scaling(bags: BagFolder, patients: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [D] over all instances of the patients.

    In float64 and patient by patient; shifted by the first bag's mean, so that no digits cancel.
    """
    shift = bags.load(patients[:1]).features.double().mean(0)
    count, total, squares = 0, torch.zeros_like(shift), torch.zeros_like(shift)
    for patient in patients:
        x = bags.load([patient]).features.double() - shift
        count += len(x)
        total += x.sum(0)
        squares += x.square().sum(0)
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    return (mean + shift).float(), variance.sqrt().float()
