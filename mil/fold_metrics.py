"""Metrics of an experiment: one row a fold, then their mean with an interval."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.fold_predictions import FoldPredictions
from mil.survival.metrics.bootstrap import (
    bootstrap_concordance,
    bootstrap_means,
    percentile_interval,
)
from mil.survival.metrics.concordance import TIED_RISK, harrell_c
from mil.survival.metrics.time_errors import hinge_errors
from wsi.storage import atomic

MEAN = "mean"


@dataclass(frozen=True)
class MetricRow:
    """One number of ``metrics.csv``; NaN with a reason where it is undefined.

    ``low`` and ``high`` are the 95 % bootstrap interval; ``sd_over_folds`` is a spread, never an
    interval, and stands in the row of the mean alone.
    """

    metric: str
    fold: int | str
    value: float
    low: float = np.nan
    high: float = np.nan
    sd_over_folds: float = np.nan
    n: int = 0
    events: int = 0
    pairs: int | None = None
    reason: str = ""


def write_metrics(path: str | Path, rows: Sequence[MetricRow]) -> None:
    """Write ``metrics.csv``."""
    table = pd.DataFrame([asdict(row) for row in rows]).astype({"pairs": "Int64"})
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")


def concordance_rows(
    folds: Sequence[FoldPredictions], bootstrap: int, seed: int
) -> list[MetricRow]:
    """Return Harrell's C of every fold, its mean over folds, and the pair-weighted C.

    Risks of different folds are never compared: each model has an offset and a scale of its own.
    """
    patients = [fold.patients for fold in folds]
    draws = bootstrap_concordance([fold.triple for fold in folds], bootstrap, seed, patients)
    found = [harrell_c(*fold.triple) for fold in folds]
    rows = [
        _with_interval(
            MetricRow(
                "c_index", fold.fold, c.value, n=c.n, events=c.events, pairs=c.pairs,
                reason=_joined(c.reason if c.n else "no test patients", _collapsed(fold)),
            ),
            draws.folds[:, k],
        )
        for k, (fold, c) in enumerate(zip(folds, found, strict=True))
    ]  # fmt: skip
    mean = _mean_row(rows, folds, draws.mean)
    pairs = sum(c.pairs for c in found)
    score = sum(c.concordant + 0.5 * c.tied_risk for c in found)
    weighted = MetricRow(
        "c_index_pair_weighted", MEAN, score / pairs if pairs else np.nan,
        n=mean.n, events=mean.events, pairs=pairs,
        reason="" if pairs else "no comparable pair in any fold",
    )  # fmt: skip
    return [*rows, mean, _with_interval(weighted, draws.pair_weighted)]


def time_error_rows(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> list[MetricRow]:
    """Return both absolute errors of predicted times; no rows where the head predicts none.

    ``mae_uncensored``: over events; ``mae_hinge``: censored patients count only if their predicted
    time is before their censoring. In the unit of the times.
    """
    if all(fold.test["predicted_time"].isna().all() for fold in folds):
        return []
    errors = [
        hinge_errors(f.test["predicted_time"], f.test["time"], f.test["event"]) for f in folds
    ]
    patients = [fold.patients for fold in folds]
    rows = []
    for metric in ("mae_uncensored", "mae_hinge"):
        weights = [
            f.test["event"].to_numpy(np.float64)
            if metric == "mae_uncensored"
            else np.ones(len(f.test))
            for f in folds
        ]
        draws = bootstrap_means(list(zip(errors, weights, strict=True)), bootstrap, seed, patients)
        own = [
            _with_interval(_time_error_row(metric, fold, error, weight), draws[:, k])
            for k, (fold, error, weight) in enumerate(zip(folds, errors, weights, strict=True))
        ]
        rows += [*own, _mean_row(own, folds, draws.mean(axis=1))]
    return rows


def _time_error_row(
    metric: str, fold: FoldPredictions, errors: np.ndarray, weights: np.ndarray
) -> MetricRow:
    n, events = len(fold.test), int(fold.test["event"].sum())
    counted = errors[weights > 0]
    reason = ""
    if not len(counted):
        reason = "no events" if n else "no test patients"
    elif not np.isfinite(counted).all():
        reason = f"{(~np.isfinite(counted)).sum()} of {len(counted)} predicted times are missing"
    value = np.nan if reason else float(counted.mean())
    return MetricRow(metric, fold.fold, value, n=n, events=events, reason=reason)


def _mean_row(
    rows: list[MetricRow], folds: Sequence[FoldPredictions], draws: np.ndarray
) -> MetricRow:
    """Return the row of the mean over folds; undefined if a fold is."""
    values = np.array([row.value for row in rows])
    patients = pd.concat([fold.test for fold in folds]).drop_duplicates("patient_id")
    pairs = [row.pairs for row in rows]
    reasons = {row.fold: _own_reason(row) for row in rows}
    mean = MetricRow(
        rows[0].metric, MEAN, float(values.mean()),
        sd_over_folds=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
        n=len(patients), events=int(patients["event"].sum()),
        pairs=None if None in pairs else sum(pairs),
        reason=_joined(*(f"fold {fold}: {reason}" for fold, reason in reasons.items() if reason)),
    )  # fmt: skip
    return _with_interval(mean, draws)


def _own_reason(row: MetricRow) -> str:
    """Return what is wrong with a fold itself, without what its interval says."""
    return "; ".join(part for part in row.reason.split("; ") if "bootstrap" not in part)


def _with_interval(row: MetricRow, draws: np.ndarray) -> MetricRow:
    """Return the row with its percentile interval, withheld where draws are too often undefined."""
    if np.isnan(row.value):
        return row
    interval = percentile_interval(draws)
    reason = _joined(row.reason, interval.reason)
    return replace(row, low=interval.low, high=interval.high, reason=reason)


def _collapsed(fold: FoldPredictions) -> str:
    """Return a warning if all test patients have one risk: C is then 0.5 by construction."""
    risk = fold.test["risk"]
    constant = len(risk) > 1 and risk.max() - risk.min() <= TIED_RISK
    return "collapsed: every test patient has the same risk" if constant else ""


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)
