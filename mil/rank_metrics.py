"""How well risks order patients: Harrell's, Uno's and Antolini's C, and the time-dependent AUC.

Risks of different folds are never compared: each model has an offset and a scale of its own.
"""

from collections.abc import Sequence

import numpy as np

from mil.fold_metrics import (
    MEAN,
    POOLED,
    MetricRow,
    fold_row,
    grid_ends,
    joined,
    over_all,
    with_interval,
    with_mean,
)
from mil.fold_predictions import FoldPredictions, first_repeat
from mil.survival.metrics.antolini import antolini_c
from mil.survival.metrics.auc import cumulative_dynamic_auc
from mil.survival.metrics.bootstrap import bootstrap_concordance, bootstrap_pairs, ratio
from mil.survival.metrics.bootstrap_auc import AUCFold, auc_of_draws, bootstrap_auc
from mil.survival.metrics.concordance import TIED_RISK, harrell_c
from mil.survival.metrics.pairs import antolini_pairs, uno_pairs
from mil.survival.metrics.uno import default_tau, uno_c

LEAST = 10  # cases and controls behind an AUC at one time


def concordance_rows(
    folds: Sequence[FoldPredictions], bootstrap: int, seed: int
) -> list[MetricRow]:
    """Return Harrell's C of every fold, its mean over folds, and the pair-weighted C."""
    patients = [fold.patients for fold in folds]
    draws = bootstrap_concordance([fold.triple for fold in folds], bootstrap, seed, patients)
    found = [harrell_c(*fold.triple) for fold in folds]
    rows = [
        fold_row("c_index", fold, c.value, pairs=c.pairs, reason=joined(c.reason, _collapsed(fold)))
        for fold, c in zip(folds, found, strict=True)
    ]
    pairs = sum(c.pairs for c in found)
    score = sum(c.concordant + 0.5 * c.tied_risk for c in found)
    weighted = over_all(
        "c_index_pair_weighted", MEAN, folds, score / pairs if pairs else np.nan,
        pairs=pairs, reason="" if pairs else "no comparable pair in any fold",
    )  # fmt: skip
    return [
        *with_mean(rows, folds, draws.folds),
        with_interval(weighted, draws.pair_weighted),
    ]


def uno_rows(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> list[MetricRow]:
    """Return Uno's C of every fold up to its tau (``end``), G and tau of the training part."""
    taus = [default_tau(*fold.training) for fold in folds]
    found = [uno_c(*f.triple, *f.training, tau) for f, tau in zip(folds, taus, strict=True)]
    rows = [
        fold_row("uno_c", fold, c.value, pairs=c.pairs, end=c.tau, reason=c.reason)
        for fold, c in zip(folds, found, strict=True)
    ]
    pairs = [uno_pairs(*f.triple, *f.training, tau) for f, tau in zip(folds, taus, strict=True)]
    patients = [fold.patients for fold in folds]
    sizes = [len(fold.test) for fold in folds]
    draws = bootstrap_pairs(pairs, sizes, bootstrap, seed, patients)
    return with_mean(rows, folds, draws.folds)


def antolini_rows(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> list[MetricRow]:
    """Return Antolini's C of every fold; no rows where the head has no survival curves."""
    if any(fold.curves is None for fold in folds):
        return []
    seen = [(f.test["time"], f.test["event"], f.curves.at(f.test["time"])) for f in folds]
    found = [antolini_c(*own) for own in seen]
    rows = [
        fold_row("antolini_c", fold, c.value, pairs=c.pairs, reason=c.reason)
        for fold, c in zip(folds, found, strict=True)
    ]
    patients = [fold.patients for fold in folds]
    pairs, sizes = [antolini_pairs(*own) for own in seen], [len(fold.test) for fold in folds]
    draws = bootstrap_pairs(pairs, sizes, bootstrap, seed, patients)
    return with_mean(rows, folds, draws.folds)


def auc_rows(
    folds: Sequence[FoldPredictions], horizons: Sequence[float], bootstrap: int, seed: int
) -> list[MetricRow]:
    """Return the time-dependent AUC: its mean over the grid of each fold, and at fixed horizons.

    At a horizon cases are held against controls of their own fold, and folds weigh by their pairs;
    it takes ten cases and ten controls over all test parts.
    """
    patients = [fold.patients for fold in folds]

    def asked(grids: Sequence[Sequence[float]]) -> list[AUCFold]:
        return [AUCFold(*f.triple, g, *f.training) for f, g in zip(folds, grids, strict=True)]

    grids = [fold.grid for fold in folds]
    found = [
        cumulative_dynamic_auc(*fold.triple, grid, *fold.training)
        for fold, grid in zip(folds, grids, strict=True)
    ]
    rows = [
        fold_row("auc_mean", fold, auc.mean, **grid_ends(auc.grid), reason=auc.reason)
        for fold, auc in zip(folds, found, strict=True)
    ]
    draws = bootstrap_auc(asked(grids), bootstrap, seed, patients)
    rows = with_mean(rows, folds, np.stack([fold.mean for fold in draws], axis=1))

    fixed = [horizons] * len(folds)
    at_horizons = bootstrap_auc(asked(fixed), bootstrap, seed, patients)
    whole = [auc_of_draws(fold, np.ones((1, len(fold.time)))) for fold in asked(fixed)]
    for k, horizon in enumerate(horizons):
        score, pairs = (
            sum(getattr(fold, name)[:, k] for fold in at_horizons) for name in ("score", "pairs")
        )
        own_score, own_pairs = (
            sum(getattr(fold, name)[0, k] for fold in whole) for name in ("score", "pairs")
        )
        cases, controls = _cases_and_controls(folds, horizon)
        reason = ""
        if min(cases, controls) < LEAST:
            reason = f"{cases} cases and {controls} controls, it takes {LEAST} of each"
        elif not own_pairs:
            reason = "no case with a control in its fold, or beyond the training follow-up"
        value = np.nan if reason else float(own_score / own_pairs)
        row = over_all(f"auc_{horizon:g}", POOLED, folds, value, end=float(horizon), reason=reason)
        rows.append(with_interval(row, ratio(score, pairs)))
    return rows


def _cases_and_controls(folds: Sequence[FoldPredictions], horizon: float) -> tuple[int, int]:
    """Return how many test patients failed by a time and lived beyond it, each counted once."""
    cases = controls = 0
    for fold in first_repeat(folds):
        time, event, _ = fold.triple
        cases += int(((time <= horizon) & (event == 1)).sum())
        controls += int((time > horizon).sum())
    return cases, controls


def _collapsed(fold: FoldPredictions) -> str:
    """Return a warning if all test patients have one risk: C is then 0.5 by construction."""
    risk = fold.test["risk"]
    constant = len(risk) > 1 and risk.max() - risk.min() <= TIED_RISK
    return "collapsed: every test patient has the same risk" if constant else ""
