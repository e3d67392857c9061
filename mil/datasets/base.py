"""A data set: a sequence of bags; names and labels are known before any bag is read."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mil.bags import Bag


class BagDataset(Sequence[Bag]):
    """Base of all data sets: item ``i`` is a bag by itself, with its label.

    Attributes
    ----------
    names : of the bags, in their order.
    labels : [n] of the bags, or [n, C]; None of bags without.
    """

    names: tuple[str, ...]
    labels: Tensor | None

    def __len__(self) -> int:
        """Return the number of bags."""
        return len(self.names)

    @abstractmethod
    def __getitem__(self, index: int) -> Bag:
        """Return a bag."""

    def subset(self, indices: Iterable[int]) -> "Subset":
        """Return the bags at ``indices`` as a data set of their own; none is read for it."""
        return Subset(self, indices)


class Subset(BagDataset):
    """Some of the bags of another data set, in the order given."""

    def __init__(self, whole: BagDataset, indices: Iterable[int]) -> None:
        self.whole = whole
        self.indices = [int(index) for index in indices]
        self.names = tuple(whole.names[index] for index in self.indices)
        self.labels = None if whole.labels is None else whole.labels[self.indices]

    def __getitem__(self, index: int) -> Bag:
        """Return a bag."""
        return self.whole[self.indices[index]]


class InMemory(BagDataset):
    """Bags that are there already, each with its name (``ids``) and, if any, its label."""

    def __init__(self, bags: Iterable[Bag]) -> None:
        self.bags = list(bags)
        self.names = tuple(name for bag in self.bags for name in bag.ids)
        labels = [bag.label for bag in self.bags]
        self.labels = None if any(label is None for label in labels) else torch.cat(labels)

    def __getitem__(self, index: int) -> Bag:
        """Return a bag."""
        return self.bags[index]
