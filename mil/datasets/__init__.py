"""Data sets of bags: drawn ones, whose best answer is known, and folders of features."""

from mil.datasets.assumption import false_frequency, multi_concept, single_concept
from mil.datasets.base import BagDataset, InMemory
from mil.datasets.labelled_set import bags_of_samples
from mil.datasets.shifted_mean import ShiftedMean, shifted_mean

__all__ = [
    "BagDataset",
    "InMemory",
    "ShiftedMean",
    "bags_of_samples",
    "false_frequency",
    "multi_concept",
    "shifted_mean",
    "single_concept",
]
