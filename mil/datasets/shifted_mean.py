"""Bags with a run of shifted instances, and the best prediction there can be (arXiv 2510.25759)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp

from mil.bags import Bag
from mil.datasets.base import InMemory
from mil.datasets.drawing import check_split, drawn_bag, shuffled_labels, size_range
from mil.problems import InputError
from mil.seeds import seed_for


@dataclass(frozen=True)
class ShiftedMean:
    r"""The distribution of bags in which a positive one has a run of shifted instances.

    The M features of an instance are normal, with ``mean`` and ``deviation``. In a positive bag R
    consecutive instances, starting anywhere with equal odds, have their first K features moved by
    ``shift``. So for a bag of S instances h, with :math:`L_j = \prod_{k \le K} N(h_{jk} | \mu +
    \Delta, \sigma) / N(h_{jk} | \mu, \sigma)`,

    .. math:: \frac{P(h | 1)}{P(h | 0)} = \frac{1}{S - R + 1}
        \sum_{u=1}^{S-R+1} \prod_{j=u}^{u+R-1} L_j

    Labels of neighbours go together, so the gap between a model and this optimum shows what it
    makes of the order of instances.

    Attributes
    ----------
    width : number of features, M.
    size : smallest and largest number of instances, each number with equal odds, or one number.
    run : number of shifted instances, R.
    shifted : number of shifted features, K.
    shift : how far they are moved.
    mean, deviation : of every feature.
    positive : share of positive bags.
    """

    width: int = 768
    size: int | Sequence[int] = (15, 45)
    run: int = 3
    shifted: int = 1
    shift: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0
    positive: float = 0.5

    def __post_init__(self) -> None:
        smallest, _ = size_range(self.size)
        if not 1 <= self.run <= smallest:
            raise InputError(
                [f"run is {self.run}; it must be from 1 to the smallest size of a bag, {smallest}."]
            )
        if not 1 <= self.shifted <= self.width:
            raise InputError(
                [f"shifted is {self.shifted}; it must be from 1 to the width, {self.width}."]
            )

    def draw(self, bags: int = 1000, *, split: str = "train", seed: int = 0) -> InMemory:
        """Return bags, in random order; instances are in the order that matters here."""
        check_split(split)
        random = np.random.default_rng(seed_for(seed, "shifted_mean", split))
        low, high = size_range(self.size)
        drawn = []
        for index, label in enumerate(shuffled_labels(bags, self.positive, random)):
            size = random.integers(low, high + 1)
            features = random.normal(self.mean, self.deviation, (size, self.width))
            instance_label = np.zeros(size, np.int64)
            if label:
                start = random.integers(size - self.run + 1)
                instance_label[start : start + self.run] = 1
            features[instance_label == 1, : self.shifted] += self.shift
            name = f"shifted_mean-{split}-{index:05d}"
            drawn.append(drawn_bag(features, instance_label, label, name))
        return InMemory(drawn)

    def log_ratio(self, features: NDArray) -> float:
        """Return log P(h | 1) - log P(h | 0) of the instances [S, M] of a bag.

        Products of the run are differences of a running sum of logarithms: O(S K), and no product
        of many factors underflows.
        """
        h = np.asarray(features, np.float64)[:, : self.shifted]
        per_feature = self.shift * (h - self.mean - self.shift / 2) / self.deviation**2
        total = np.concatenate([[0.0], per_feature.sum(axis=1).cumsum()])  # [S + 1]
        runs = total[self.run :] - total[: -self.run]  # [S - R + 1]
        return float(logsumexp(runs) - np.log(len(runs)))

    def posterior(self, bag: Bag) -> float:
        """Return the probability that a bag, packed of no other, is positive."""
        return float(expit(self.log_ratio(bag.features.numpy()) + logit(self.positive)))


def shifted_mean(
    bags: int = 1000, width: int = 768, *, split: str = "train", seed: int = 0, **others
) -> InMemory:
    """Draw bags of ``ShiftedMean(width=width, **others)``."""
    return ShiftedMean(width=width, **others).draw(bags, split=split, seed=seed)
