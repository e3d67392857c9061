"""Bootstrap of patients inside each fold: intervals of fold means and of their differences.

A draw gives every patient of a fold a count, so that a metric made of sums over patients or over
pairs is a product with the counts, and two models are compared on the same draws by using the same
counts for both. Where folds are repeated, a patient is one patient: its count is drawn in the first
repeat and used in every fold that tests it. Counts drawn anew would make repeats look like more
patients, and the interval of a mean over folds too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.seeds import seed_for
from mil.survival.metrics.arrays import Floats, checked
from mil.survival.metrics.concordance import TIED_RISK

_ROWS = 256  # rows of the pair matrix held at once


@dataclass(frozen=True)
class Interval:
    """A percentile interval; NaN with a reason where it is withheld."""

    low: float
    high: float
    draws: int
    undefined: int
    reason: str = ""


@dataclass(frozen=True)
class ConcordanceDraws:
    """Concordance of every draw and fold.

    Parameters
    ----------
    score : [draws, folds], concordant pairs and half of the risk-tied ones.
    pairs : [draws, folds], comparable pairs.
    """

    score: Floats
    pairs: Floats

    @property
    def folds(self) -> Floats:
        """Harrell's C of each fold, [draws, folds]; NaN without comparable pairs."""
        return _ratio(self.score, self.pairs)

    @property
    def mean(self) -> Floats:
        """Mean over folds, [draws]; NaN if one fold is undefined."""
        return self.folds.mean(axis=1)

    @property
    def pair_weighted(self) -> Floats:
        """Concordant over comparable pairs, never between folds, [draws]."""
        return _ratio(self.score.sum(axis=1), self.pairs.sum(axis=1))


def resample_counts(n: int, draws: int, seed: int, fold: int) -> NDArray[np.float64]:
    """Return how often each of n patients is drawn, [draws, n]; the same for every model."""
    if not n:
        return np.zeros((draws, 0))
    rng = np.random.default_rng(seed_for(seed, "bootstrap", fold))
    return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def bootstrap_concordance(
    folds: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    draws: int,
    seed: int,
    patients: Sequence[Sequence[str]] | None = None,
) -> ConcordanceDraws:
    """Resample the patients of each fold and recompute Harrell's C of all folds.

    Parameters
    ----------
    folds : (time, event, risk) of the test patients of each fold. For a paired comparison give two
        models' folds with the same patients in the same order, and the same seed.
    draws : number of bootstrap draws.
    seed : of the configuration.
    patients : ids of the test patients of each fold, in the order of its rows; needed with repeats.
        None: nobody is in two folds.
    """
    score, pairs = np.zeros((2, draws, len(folds)))
    all_counts = _counts_of_folds(
        [len(np.asarray(fold[0])) for fold in folds], draws, seed, patients
    )
    for k, ((time, event, risk), counts) in enumerate(zip(folds, all_counts, strict=True)):
        score[:, k], pairs[:, k] = _concordance_sums(time, event, risk, counts)
    return ConcordanceDraws(score, pairs)


def bootstrap_means(
    folds: Sequence[tuple[ArrayLike, ArrayLike]],
    draws: int,
    seed: int,
    patients: Sequence[Sequence[str]] | None = None,
) -> Floats:
    """Resample the patients of each fold and return weighted means, [draws, folds].

    Parameters
    ----------
    folds : (values, weights) of the test patients of each fold; NaN where a draw has no weight.
    draws, seed, patients : as for `bootstrap_concordance`.
    """
    means = np.zeros((draws, len(folds)))
    all_counts = _counts_of_folds(
        [len(np.asarray(fold[0])) for fold in folds], draws, seed, patients
    )
    for k, ((values, weights), counts) in enumerate(zip(folds, all_counts, strict=True)):
        weights = np.asarray(weights, dtype=np.float64)
        means[:, k] = _ratio(counts @ (weights * np.asarray(values)), counts @ weights)
    return means


def percentile_interval(
    values: ArrayLike, level: float = 0.95, most_undefined: float = 0.05
) -> Interval:
    """Return the percentile interval of bootstrap draws.

    Parameters
    ----------
    values : [draws]; NaN marks a draw in which the metric is undefined.
    level : coverage.
    most_undefined : share of undefined draws above which the interval is withheld.
    """
    values = np.asarray(values, dtype=np.float64)
    draws, undefined = len(values), int(np.isnan(values).sum())
    if undefined > most_undefined * draws or not draws:
        reason = f"interval withheld: undefined in {undefined} of {draws} bootstrap draws"
        return Interval(np.nan, np.nan, draws, undefined, reason)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    reason = f"undefined in {undefined} of {draws} bootstrap draws" if undefined else ""
    return Interval(float(low), float(high), draws, undefined, reason)


def _counts_of_folds(
    sizes: Sequence[int], draws: int, seed: int, patients: Sequence[Sequence[str]] | None
) -> Iterator[Floats]:
    """Return the counts of each fold, [draws, n]; of a patient tested before, those it has."""
    drawn: dict[str, Floats] = {}  # [draws] by patient
    for k, size in enumerate(sizes):
        if patients is None:
            yield resample_counts(size, draws, seed, k)
            continue
        if len(patients[k]) != size:
            raise ValueError(f"fold {k} has {len(patients[k])} patient ids for {size} rows.")
        new = [name for name in patients[k] if name not in drawn]
        drawn |= zip(new, resample_counts(len(new), draws, seed, k).T, strict=True)
        columns = [drawn[name] for name in patients[k]]
        yield np.stack(columns, axis=1) if columns else np.zeros((draws, 0))


def _concordance_sums(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, counts: Floats
) -> tuple[Floats, Floats]:
    """Return score and comparable pairs of every draw: quadratic forms of the counts."""
    time, event, risk = checked(time, event, risk=risk)
    score, pairs = np.zeros((2, len(counts)))
    if not np.isfinite(risk).all():
        return score, pairs  # no pairs: undefined
    failed = np.flatnonzero(event)
    for start in range(0, len(failed), _ROWS):
        rows = failed[start : start + _ROWS, None]
        comparable = (time[rows] < time) | ((time[rows] == time) & ~event)  # [rows, n]
        above = (risk < risk[rows] - TIED_RISK).astype(np.float64)
        not_below = risk <= risk[rows] + TIED_RISK
        times_drawn = counts[:, rows[:, 0]]
        won = comparable * (above + not_below) / 2  # a tie counts one half
        score += (times_drawn * (counts @ won.T)).sum(axis=1)
        pairs += (times_drawn * (counts @ comparable.T.astype(np.float64))).sum(axis=1)
    return score, pairs


def _ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, NaN where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, a / b, np.nan)
