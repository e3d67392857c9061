"""From probabilities to decisions: thresholds chosen on validation parts, never on test parts."""

import numpy as np
from numpy.typing import NDArray

from mil.labelled.predictions import Part


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


def thresholds_of(validation: Part, names: int) -> NDArray[np.float64]:
    """Return the threshold of the second of two classes [1], or of each of several labels [K]."""
    if validation.truth.ndim == 1:
        return np.array([youden_threshold(validation.truth, validation.told[:, 1])])
    return np.array(
        [youden_threshold(validation.truth[:, k], validation.told[:, k]) for k in range(names)]
    )


def decide(validation: Part, test: Part) -> NDArray[np.int64]:
    """Return the predicted class [n] of the test part, or of several labels 0 or 1, [n, K].

    Of more than two classes it is the one with the highest probability.
    """
    names = test.told.shape[1]
    if test.truth.ndim == 2:
        return (test.told >= thresholds_of(validation, names)).astype(np.int64)
    if names == 2:
        return (test.told[:, 1] >= thresholds_of(validation, names)[0]).astype(np.int64)
    return test.told.argmax(1)
