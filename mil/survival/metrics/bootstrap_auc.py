"""Bootstrap of the time-dependent AUC."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.arrays import Floats, checked
from mil.survival.metrics.bootstrap import fold_counts, ratio
from mil.survival.metrics.concordance import TIED_RISK
from mil.survival.metrics.kaplan_meier import censoring_survival


@dataclass(frozen=True)
class AUCFold:
    """The test part of a fold, the times its AUC is asked at, and the training part of G."""

    time: ArrayLike
    event: ArrayLike
    risk: ArrayLike
    grid: ArrayLike
    train_time: ArrayLike
    train_event: ArrayLike


@dataclass(frozen=True)
class AUCDraws:
    """AUC of the draws of one fold.

    Parameters
    ----------
    score, pairs : [draws, m], weight of the case-control pairs that are won, and of all.
    drop : [draws, m], of the draw's Kaplan-Meier curve before each time.
    """

    score: Floats
    pairs: Floats
    drop: Floats

    @property
    def auc(self) -> Floats:
        """AUC [draws, m]; NaN without a case or a control."""
        return ratio(self.score, self.pairs)

    @property
    def mean(self) -> Floats:
        """Mean [draws] over the grid, weighted by the drops; NaN if an AUC with weight is."""
        weighed = np.where(self.drop > 0, self.auc * self.drop, 0)
        return ratio(weighed.sum(axis=1), self.drop.sum(axis=1))


def bootstrap_auc(
    folds: Sequence[AUCFold],
    draws: int,
    seed: int,
    patients: Sequence[Sequence[str]] | None = None,
) -> list[AUCDraws]:
    """Resample the patients of each fold and recompute its AUC; G stays that of the training part.

    Parameters
    ----------
    folds : of the experiment; times of a grid beyond the training follow-up have no pairs.
    draws, seed, patients : as for ``bootstrap_concordance``.
    """
    all_counts = fold_counts([len(fold.time) for fold in folds], draws, seed, patients)
    return [auc_of_draws(fold, counts) for fold, counts in zip(folds, all_counts, strict=True)]


def auc_of_draws(fold: AUCFold, counts: Floats) -> AUCDraws:
    """Return the AUC of a fold whose patients count as often as each draw [draws, n] says."""
    time, event, risk = checked(fold.time, fold.event, risk=fold.risk)
    grid = np.asarray(fold.grid, dtype=np.float64)
    score, pairs = np.zeros((2, len(counts), len(grid)))
    censoring = censoring_survival(fold.train_time, fold.train_event)
    g = censoring.at(time)
    for k, u in enumerate(grid):
        case, control = event & (time <= u), time > u
        if u > censoring.last or (g[case] <= 0).any() or not np.isfinite(risk).all():
            continue
        own, others = risk[case, None], risk[control]
        won = ((others < own - TIED_RISK) + (others <= own + TIED_RISK).astype(np.float64)) / 2
        cases, controls = counts[:, case] / g[case], counts[:, control]
        score[:, k] = ((cases @ won) * controls).sum(axis=1)
        pairs[:, k] = cases.sum(axis=1) * controls.sum(axis=1)
    curves = _curves(time, event, counts, grid)
    return AUCDraws(score, pairs, -np.diff(curves, axis=1, prepend=1.0))


def _curves(time: Floats, event: Floats, counts: Floats, grid: Floats) -> Floats:
    """Return the Kaplan-Meier curve of every draw at the times of the grid, [draws, m]."""
    knots, which = np.unique(time, return_inverse=True)
    at = np.eye(len(knots))[which]  # [n, knots]
    leaving, failing = counts @ at, (counts * event) @ at
    at_risk = leaving[:, ::-1].cumsum(axis=1)[:, ::-1]
    survival = np.cumprod(1 - failing / np.maximum(at_risk, 1), axis=1)
    survival = np.hstack([np.ones((len(counts), 1)), survival])
    return survival[:, np.searchsorted(knots, grid, side="right")]
