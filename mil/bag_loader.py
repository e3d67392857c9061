"""Bags one after the other, in groups that fit in memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from threading import Thread

import torch

from mil.bag_folder import BagFolder
from mil.bags import Bag

ROWS = {"cpu": 4096, "cuda": 16_384}
"""Instances that go through a network together, by kind of device. Fewer cost more of Python's time
and leave a GPU idle; on a CPU more than a bag or two are first copied together, and activations
(6 MB for 384 columns) outgrow its caches and what the allocator keeps for reuse."""


class BagLoader:
    """Patients as packed bags, at most ``rows`` instances at a time, loaded anew at every pass.

    A patient with more instances than that is alone. While one group is worked on, the system reads
    the next from the disk.

    Parameters
    ----------
    bags : where the bags are.
    patients : ids; groups are runs of them, in this order.
    needs : what is read besides features.
    device : where the bags shall be.
    rows : most instances of a group; None for what suits the device.
    """

    def __init__(
        self,
        bags: BagFolder,
        patients: Sequence[str],
        needs: Sequence[str],
        device: torch.device,
        rows: int | None = None,
    ) -> None:
        self.bags, self.needs, self.device = bags, needs, device
        sizes = [bags.size(patient) for patient in patients]
        parts = groups(sizes, ROWS[device.type] if rows is None else rows)
        self.groups = [list(patients[part]) for part in parts]

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.groups)

    def __iter__(self) -> Iterator[Bag]:
        """Load one group after the other."""
        for group, following in zip_longest(self.groups, self.groups[1:]):
            if following:
                Thread(target=self.bags.read_ahead, args=(following,), daemon=True).start()
            yield self.bags.load(group, self.needs, self.device)


def groups(sizes: Sequence[int], rows: int) -> list[slice]:
    """Divide patients of the given sizes, in order, into runs of at most ``rows`` instances."""
    found, first, held = [], 0, 0
    for patient, size in enumerate(sizes):
        if patient > first and held + size > rows:
            found.append(slice(first, patient))
            first, held = patient, 0
        held += size
    return [*found, slice(first, len(sizes))]


def with_places(bags: Iterable[Bag]) -> Iterator[tuple[slice, Bag]]:
    """Yield every packed bag with the places of its patients among all of them."""
    first = 0
    for bag in bags:
        yield slice(first, first + len(bag)), bag
        first += len(bag)
