"""From probabilities to decisions: thresholds chosen on validation parts, never on test parts."""

import numpy as np
from numpy.typing import NDArray


def youden_threshold(truth: NDArray, score: NDArray) -> float:
    """Return the threshold with the highest sensitivity + specificity (Youden, Cancer 1950).

    Halfway between the two scores beside it; of equally good ones the nearest to 0.5, which is also
    what a part without both classes gets.
    """
    known = ~np.isnan(truth)
    truth, score = truth[known] == 1, score[known]
    if truth.all() or not truth.any():
        return 0.5
    values = np.unique(score)
    candidates = np.concatenate([[values[0] / 2], (values[1:] + values[:-1]) / 2])
    above = score[None] >= candidates[:, None]  # [thresholds, n]
    gain = above[:, truth].mean(1) - above[:, ~truth].mean(1)
    best = candidates[gain >= gain.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def thresholds_of(truth: NDArray, told: NDArray) -> NDArray[np.float64]:
    """Return the threshold of the second of two classes [1], or of each of several labels [K].

    Of more than two classes, and of numbers, there is none, [0].

    Parameters
    ----------
    truth : of a validation part, [n] or [n, K].
    told : its probabilities [n, C], or numbers [n].
    """
    if told.ndim == 1 or (truth.ndim == 1 and told.shape[1] > 2):
        return np.zeros(0)
    if truth.ndim == 1:
        return np.array([youden_threshold(truth, told[:, 1])])
    return np.array([youden_threshold(*both) for both in zip(truth.T, told.T, strict=True)])


def decide(told: NDArray, thresholds: NDArray) -> NDArray[np.int64]:
    """Return the predicted class [n] of probabilities [n, C], or of several labels 0 or 1, [n, K].

    Of more than two classes, which have no threshold, it is the one with the highest probability.
    """
    if not len(thresholds):
        return told.argmax(1)
    if len(thresholds) == told.shape[1]:
        return (told >= thresholds).astype(np.int64)
    return (told[:, 1] >= thresholds[0]).astype(np.int64)
