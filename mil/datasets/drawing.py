"""What the drawn data sets share: which bags are positive, and how a bag is put together."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mil.bags import Bag
from mil.problems import InputError

SPLITS = ("train", "test")


def shuffled_labels(bags: int, positive: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Return labels [bags]: ``round(bags * positive)`` times 1, else 0, in random order.

    Raises
    ------
    mil.problems.InputError : no bag, or a share of positive ones outside [0, 1].
    """
    if bags < 1 or not 0 <= positive <= 1:
        raise InputError(
            [
                f"{bags} bags, {positive} of them positive: ask for 1 bag or more, and for a share "
                "between 0 and 1."
            ]
        )
    return random.permutation((np.arange(bags) < round(bags * positive)).astype(np.int64))


def check_split(split: str) -> None:
    """Refuse a split other than those there are."""
    if split not in SPLITS:
        raise InputError([f"split is {split!r}; it must be {' or '.join(SPLITS)}."])


def size_range(size: int | Sequence[int]) -> tuple[int, int]:
    """Return the smallest and the largest number that ``size`` allows.

    Raises
    ------
    mil.problems.InputError : not a number of 1 or more, or two of them in order.
    """
    low, high = (size, size) if isinstance(size, int) else size
    if not 1 <= low <= high:
        raise InputError([f"size is {size}; it must be a number from 1, or (smallest, largest)."])
    return low, high


def drawn_bag(features: NDArray, instance_label: NDArray[np.int64], label: int, name: str) -> Bag:
    """Return the bag of instances [n, ...] with their labels [n]; features become float32."""
    return Bag.single(
        torch.from_numpy(np.ascontiguousarray(features, np.float32)),
        name,
        label=torch.tensor([int(label)]),
        instance_label=torch.from_numpy(instance_label),
    )
