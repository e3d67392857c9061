"""Metrics of predicted numbers, for many bootstrap draws at once.

``counts`` [draws, n] say how often each patient is in a draw; a row of ones gives the metric.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.survival.metrics.bootstrap import ratio

Floats = NDArray[np.float64]


def mean_absolute_error(truth: ArrayLike, predicted: ArrayLike, counts: Floats) -> Floats:
    """Return the mean absolute error [draws]."""
    return ratio(counts @ np.abs(np.subtract(predicted, truth)), counts.sum(1))


def root_mean_squared_error(truth: ArrayLike, predicted: ArrayLike, counts: Floats) -> Floats:
    """Return the root of the mean squared error [draws]."""
    return np.sqrt(ratio(counts @ np.subtract(predicted, truth) ** 2, counts.sum(1)))


def r_squared(truth: ArrayLike, predicted: ArrayLike, counts: Floats) -> Floats:
    """Return 1 - squared errors / squared distances from the mean, [draws].

    0 is no better than the mean of these patients for everybody; NaN where all have one value.
    """
    truth = np.asarray(truth, dtype=np.float64)
    errors = counts @ np.subtract(predicted, truth) ** 2
    return 1 - ratio(errors, _spread(truth, truth, counts))


def correlation(truth: ArrayLike, predicted: ArrayLike, counts: Floats) -> Floats:
    """Return Pearson's correlation [draws]; NaN where one of the two is constant."""
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    both = _spread(truth, truth, counts) * _spread(predicted, predicted, counts)
    return ratio(_spread(truth, predicted, counts), np.sqrt(np.maximum(both, 0)))


def _spread(a: Floats, b: Floats, counts: Floats) -> Floats:
    """Return the sum of products of distances from the means, [draws]."""
    if not len(a):
        return np.zeros(len(counts))
    n = np.maximum(counts.sum(1), 1)
    a, b = a - a.mean(), b - b.mean()  # so that few digits cancel
    total = counts @ (a * b) - (counts @ a) * (counts @ b) / n
    return np.where(np.abs(total) < 1e-12 * max(len(a), 1), 0.0, total)
