"""Bootstrap of patients inside each fold: intervals of fold means and of their differences.

A draw gives every patient of a fold a count, so that a metric made of sums over patients or over
pairs is a product with the counts, and two models are compared on the same draws by using the same
counts for both. Where folds are repeated, a patient is one patient: its count is drawn in the first
repeat and used in every fold that tests it. Counts drawn anew would make repeats look like more
patients, and the interval of a mean over folds too narrow.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.seeds import seed_for
from mil.survival.metrics.arrays import Floats
from mil.survival.metrics.pairs import PairBlock, harrell_pairs


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
    score : [draws, folds], weight of the concordant pairs and half of that of the tied ones.
    pairs : [draws, folds], weight of the comparable pairs; for Harrell's C their number.
    """

    score: Floats
    pairs: Floats

    @property
    def folds(self) -> Floats:
        """C of each fold, [draws, folds]; NaN without comparable pairs."""
        return ratio(self.score, self.pairs)

    @property
    def mean(self) -> Floats:
        """Mean over folds, [draws]; NaN if one fold is undefined."""
        return self.folds.mean(axis=1)

    @property
    def pair_weighted(self) -> Floats:
        """Concordant over comparable pairs, never between folds, [draws]."""
        return ratio(self.score.sum(axis=1), self.pairs.sum(axis=1))


def resample_counts(n: int, draws: int, seed: int, fold: int) -> NDArray[np.float64]:
    """Return how often each of n patients is drawn, [draws, n]; the same for every model."""
    if not n:
        return np.zeros((draws, 0))
    rng = np.random.default_rng(seed_for(seed, "bootstrap", fold))
    return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def fold_counts(
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
    sizes = [len(np.asarray(fold[0])) for fold in folds]
    pairs = [harrell_pairs(*fold) for fold in folds]
    return bootstrap_pairs(pairs, sizes, draws, seed, patients)


def bootstrap_pairs(
    folds: Sequence[Iterable[PairBlock]],
    sizes: Sequence[int],
    draws: int,
    seed: int,
    patients: Sequence[Sequence[str]] | None = None,
) -> ConcordanceDraws:
    """Resample the patients of each fold and recompute a concordance of pairs.

    Parameters
    ----------
    folds : pairs of the test patients of each fold (``mil.survival.metrics.pairs``).
    sizes : test patients of each fold.
    draws, seed, patients : as for `bootstrap_concordance`.
    """
    score, pairs = np.zeros((2, draws, len(folds)))
    all_counts = fold_counts(sizes, draws, seed, patients)
    for k, (blocks, counts) in enumerate(zip(folds, all_counts, strict=True)):
        for block in blocks:
            drawn = counts[:, block.rows]
            score[:, k] += (drawn * (counts @ block.won.T)).sum(axis=1)
            pairs[:, k] += (drawn * (counts @ block.weight.T)).sum(axis=1)
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
    sizes = [len(np.asarray(fold[0])) for fold in folds]
    all_counts = fold_counts(sizes, draws, seed, patients)
    for k, ((values, weights), counts) in enumerate(zip(folds, all_counts, strict=True)):
        weights = np.asarray(weights, dtype=np.float64)
        means[:, k] = ratio(counts @ (weights * np.asarray(values)), counts @ weights)
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


def ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, NaN where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, a / b, np.nan)
