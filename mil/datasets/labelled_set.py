"""Bags of the samples of any labelled set, such as the digits of MNIST."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.datasets.base import InMemory
from mil.datasets.drawing import drawn_bag, shuffled_labels, size_range
from mil.problems import InputError
from mil.seeds import seed_for


def bags_of_samples(
    samples: ArrayLike,
    classes: ArrayLike,
    positive_classes: Collection[int],
    bags: int = 1000,
    *,
    size: int | Sequence[int] = 10,
    positive: float = 0.5,
    seed: int = 0,
) -> InMemory:
    """Draw bags from samples of known classes; one with a sample of a positive class is positive.

    The number of positive samples of a positive bag is any from 1 to ``size // 2 - 1`` with equal
    odds (1 in bags of fewer than six). Samples are used in turn, in random order, each as often as
    the others of its kind; instances are in random order, so it says nothing of their labels.

    Parameters
    ----------
    samples : [n, ...], each becomes an instance.
    classes : [n], their classes.
    positive_classes : those that make a bag positive.
    size : number of instances, or the smallest and the largest.
    positive : share of positive bags.

    Raises
    ------
    mil.problems.InputError : counts of samples and classes differ, or a kind of sample is missing.
    """
    samples, classes = np.asarray(samples), np.asarray(classes)
    if len(samples) != len(classes):
        raise InputError([f"{len(samples)} samples, but {len(classes)} classes: one for each."])
    is_positive = np.isin(classes, list(positive_classes))
    if is_positive.all() or not is_positive.any():
        raise InputError(
            [
                f"positive_classes are {sorted(positive_classes)}, and the samples are of classes "
                f"{np.unique(classes).tolist()}: there must be samples of both kinds."
            ]
        )
    low, high = size_range(size)
    random = np.random.default_rng(seed_for(seed, "bags_of_samples"))
    sources = [_in_turn(np.flatnonzero(is_positive == kind), random) for kind in (False, True)]

    drawn = []
    for index, label in enumerate(shuffled_labels(bags, positive, random)):
        count = int(random.integers(low, high + 1))
        positives = int(random.integers(1, max(count // 2 - 1, 1) + 1)) if label else 0
        kinds = random.permutation((np.arange(count) < positives).astype(np.int64))
        rows = [next(sources[kind]) for kind in kinds]
        drawn.append(drawn_bag(samples[rows], kinds, label, f"bag-{index:05d}"))
    return InMemory(drawn)


def _in_turn(rows: NDArray[np.int64], random: np.random.Generator) -> Iterator[int]:
    """Yield all rows in random order, then all again in another."""
    while True:
        yield from random.permutation(rows)
