r"""Metrics of classes from probabilities, for many bootstrap draws at once.

Every function takes ``counts`` [draws, n], how often each patient is in a draw, and returns
[draws]: a row of ones gives the metric itself. It is NaN where it is undefined, as AUROC is without
both classes. Of several classes, and of several labels, AUROC, average precision and F1 are means
over classes held against all others (macro). Agrees with scikit-learn, whose ``sample_weight`` are
the counts.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.survival.metrics.bootstrap import ratio

Floats = NDArray[np.float64]
BINS = 10  # of the calibration error


def auroc(truth: ArrayLike, probability: Floats, counts: Floats) -> Floats:
    """Return the area under the ROC curve, ties counted half.

    Parameters
    ----------
    truth : [n] number of the class, or [n, K] labels 1 and 0, NaN where unknown.
    probability : [n, C], or [n, K].
    counts : [draws, n].
    """
    return _macro(_auroc, truth, probability, counts)


def auroc_of(place: int, truth: ArrayLike, probability: Floats, counts: Floats) -> Floats:
    """Return the AUROC of one class held against the others, or of one label."""
    truth = np.asarray(truth, dtype=np.float64)
    own = truth[:, place] if truth.ndim == 2 else truth
    known = ~np.isnan(own)
    is_class = own[known] == (1 if truth.ndim == 2 else place)
    return _auroc(is_class, probability[known, place], counts[:, known])


def average_precision(truth: ArrayLike, probability: Floats, counts: Floats) -> Floats:
    """Return the mean precision over the recall that each threshold gains; see `auroc`."""
    return _macro(_average_precision, truth, probability, counts)


def _macro(metric: Callable, truth: ArrayLike, probability: Floats, counts: Floats) -> Floats:
    return np.mean([metric(*column) for column in one_against_others(truth, probability, counts)],
                   axis=0)  # fmt: skip


def one_against_others(
    truth: ArrayLike, probability: Floats, counts: Floats
) -> list[tuple[NDArray[np.bool_], Floats, Floats]]:
    """Return truth [m], score [m] and counts [draws, m] of each class, of those with a label.

    Of two classes there is one, the second.
    """
    truth = np.asarray(truth, dtype=np.float64)
    if truth.ndim == 2:
        columns = [(truth[:, k] == 1, probability[:, k], ~np.isnan(truth[:, k]))
                   for k in range(truth.shape[1])]  # fmt: skip
    else:
        first = 1 if probability.shape[1] == 2 else 0
        columns = [(truth == k, probability[:, k], ~np.isnan(truth))
                   for k in range(first, probability.shape[1])]  # fmt: skip
    return [(is_class[known], score[known], counts[:, known])
            for is_class, score, known in columns]  # fmt: skip


def _ranked(truth: NDArray[np.bool_], score: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return counts of positives and negatives [draws, thresholds], the highest score first."""
    thresholds, place = np.unique(-score, return_inverse=True)
    at = np.zeros((len(score), len(thresholds)))
    at[np.arange(len(score)), place] = 1
    return (counts * truth) @ at, (counts * ~truth) @ at


def _auroc(truth: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    positives, negatives = _ranked(truth, score, counts)
    above = positives.cumsum(1) - positives / 2  # of each negative; a tie counts half
    return ratio((negatives * above).sum(1), positives.sum(1) * negatives.sum(1))


def _average_precision(truth: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    positives, negatives = _ranked(truth, score, counts)
    found = positives.cumsum(1)
    precision = np.nan_to_num(ratio(found, found + negatives.cumsum(1)))
    return ratio((precision * positives).sum(1), positives.sum(1))


def confusion(truth: ArrayLike, predicted: ArrayLike, counts: Floats, classes: int) -> Floats:
    """Return how many of each class were taken for which, [draws, truth, predicted]."""
    truth, predicted = np.asarray(truth, dtype=int), np.asarray(predicted, dtype=int)
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + predicted] = 1
    return (counts @ cells).reshape(-1, classes, classes)


def accuracy(truth: ArrayLike, predicted: ArrayLike, counts: Floats, classes: int) -> Floats:
    """Return the share of right predictions."""
    table = confusion(truth, predicted, counts, classes)
    return ratio(np.trace(table, axis1=1, axis2=2), table.sum((1, 2)))


def balanced_accuracy(
    truth: ArrayLike, predicted: ArrayLike, counts: Floats, classes: int
) -> Floats:
    """Return the mean recall over classes; NaN in a draw without one of them."""
    table = confusion(truth, predicted, counts, classes)
    return ratio(np.diagonal(table, axis1=1, axis2=2), table.sum(2)).mean(1)


def f1(truth: ArrayLike, predicted: ArrayLike, counts: Floats, classes: int) -> Floats:
    """Return 2 TP / (2 TP + FP + FN): of two classes that of the second, else the mean over all.

    It is 0 of a class that is there and never predicted, NaN of one that is neither.
    """
    table = confusion(truth, predicted, counts, classes)
    right = np.diagonal(table, axis1=1, axis2=2)
    each = ratio(2 * right, table.sum(1) + table.sum(2))
    return each[:, 1] if classes == 2 else each.mean(1)


def kappa(
    truth: ArrayLike,
    predicted: ArrayLike,
    counts: Floats,
    classes: int,
    quadratic: bool = True,
) -> Floats:
    r"""Return Cohen's kappa, :math:`1 - \sum w o / \sum w e`.

    o is the table of observed pairs, e that of independent ones, w the squared distance of grades
    (Cohen, Psychological Bulletin 1968) or, of classes without an order, 1 for all that differ.
    """
    table = confusion(truth, predicted, counts, classes)
    n = table.sum((1, 2))
    expected = table.sum(2)[:, :, None] * table.sum(1)[:, None, :] / np.maximum(n, 1)[:, None, None]
    grade = np.arange(classes)
    weight = (grade[:, None] - grade[None]) ** 2
    if not quadratic:
        weight = np.minimum(weight, 1)
    return 1 - ratio((weight * table).sum((1, 2)), (weight * expected).sum((1, 2)))


def brier(truth: ArrayLike, probability: Floats, counts: Floats) -> Floats:
    """Return the mean squared error of probabilities.

    Of two classes that of the second (0 to 1), of more the sum over classes (0 to 2), of several
    labels the mean over labels.
    """
    each = []
    for is_class, score, own in one_against_others(truth, probability, counts):
        each.append(ratio(own @ (score - is_class) ** 2, own.sum(1)))
    return np.mean(each, axis=0) if np.ndim(truth) == 2 else np.sum(each, axis=0)


def calibration_error(truth: ArrayLike, probability: Floats, counts: Floats) -> Floats:
    """Return the expected calibration error over ten equal bins of probability.

    The mean over patients of the distance between the mean probability of a bin and the share in it
    that is right (Guo et al., ICML 2017). Of two classes, and of each of several labels, of the
    probability of the class; of more classes of that of the predicted one.
    """
    return np.mean([binned(*column)[0] for column in judged(truth, probability, counts)], axis=0)


def judged(
    truth: ArrayLike, probability: Floats, counts: Floats
) -> list[tuple[NDArray[np.bool_], Floats, Floats]]:
    """Return what calibration looks at: whether it happened [m], its probability, counts."""
    if np.ndim(truth) == 2 or probability.shape[1] == 2:
        return one_against_others(truth, probability, counts)
    right = probability.argmax(1) == np.asarray(truth)
    return [(right, probability.max(1), counts)]


def binned(happened: NDArray[np.bool_], score: Floats, counts: Floats) -> tuple[Any, ...]:
    """Return the error [draws], and of each bin [draws, 10] mean probability, share and weight."""
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    at = np.zeros((len(score), BINS))
    at[np.arange(len(score)), place] = 1
    weight = counts @ at
    told = (counts * score) @ at
    seen = (counts * happened) @ at
    error = ratio(np.abs(told - seen).sum(1), weight.sum(1))
    return error, ratio(told, weight), ratio(seen, weight), weight
