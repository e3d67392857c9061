"""How well scores of instances tell which of them are positive, where that is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from mil.problems import InputError


@dataclass(frozen=True)
class InstanceMetrics:
    """What scores of n instances say of their labels; NaN without both kinds.

    Attributes
    ----------
    auroc : probability that a positive instance has a higher score than a negative one, ties half.
    average_precision : mean precision over the recall that each threshold gains.
    dice : 2 TP / (2 TP + FP + FN) at the best threshold. It was chosen by these very instances, so
        ``dice_at`` of others tells what to expect.
    threshold : instances at least as high are taken for positive there.
    positives, n : instances with a known label.
    """

    auroc: float
    average_precision: float
    dice: float
    threshold: float
    positives: int
    n: int


def instance_metrics(scores: ArrayLike, labels: ArrayLike) -> InstanceMetrics:
    """Return how well scores tell labels, all instances together.

    Attention is comparable within a bag only: of several bags give contributions, logits, or the
    percentile within the bag (``mil.score_maps.percentile_within``).

    Parameters
    ----------
    scores : [N], higher is more positive.
    labels : [N], 1, 0, or -1 for unknown, which do not count.

    Raises
    ------
    mil.problems.InputError : scores of another number, other labels, or undefined scores.
    """
    score, positive = known(scores, labels)
    many, n = int(positive.sum()), len(score)
    if not 0 < many < n:
        return InstanceMetrics(*[np.nan] * 4, many, n)
    above = rankdata(score)[positive].sum() - many * (many + 1) / 2
    thresholds, hits, taken = _swept(score, positive)
    gained = np.diff(hits, prepend=0)
    dice = 2 * hits / (taken + many)
    best = int(dice.argmax())  # of equal ones the highest threshold
    return InstanceMetrics(
        auroc=float(above / (many * (n - many))),
        average_precision=float((hits / taken * gained).sum() / many),
        dice=float(dice[best]),
        threshold=float(thresholds[best]),
        positives=many,
        n=n,
    )


def dice_at(threshold: float, scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Dice's coefficient at a threshold chosen elsewhere; arguments as above.

    It is NaN where nothing is positive and nothing taken for it.
    """
    score, positive = known(scores, labels)
    taken = score >= threshold
    size = int(taken.sum() + positive.sum())
    return float(2 * (taken & positive).sum() / size) if size else np.nan


def known(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return score and whether it is positive of each instance with a known label.

    Raises
    ------
    mil.problems.InputError : as ``instance_metrics``.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise InputError(
            [f"scores are {list(scores.shape)} and labels {list(labels.shape)}; both must be [N]."]
        )
    strange = sorted(set(np.unique(labels).tolist()) - {-1, 0, 1})
    if strange:
        raise InputError([f"a label is {strange[0]:g}; it must be 1, 0, or -1 for unknown."])
    told = labels >= 0
    if np.isnan(scores[told]).any():
        raise InputError([f"{int(np.isnan(scores[told]).sum())} scores are NaN."])
    return scores[told], labels[told] == 1


def _swept(score: NDArray, positive: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return every threshold, the highest first, how many positives pass it, and how many pass."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # of equal scores
    return score[order][last], positive[order].cumsum()[last], last + 1
