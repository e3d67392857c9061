"""Metrics of an experiment as rows: one a fold, then their mean with an interval."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.fold_predictions import FoldPredictions
from mil.survival.metrics.bootstrap import percentile_interval
from wsi.storage import atomic

MEAN = "mean"
POOLED = "pooled"


@dataclass(frozen=True)
class MetricRow:
    """One number of ``metrics.csv``; NaN with a reason where it is undefined.

    ``low`` and ``high`` are the 95 % bootstrap interval; ``sd_over_folds`` is a spread, never an
    interval, and stands in the row of the mean alone. ``start`` and ``end`` are the times a metric
    looks at, of the mean those of all folds; NaN where it looks at all.
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
    start: float = np.nan
    end: float = np.nan
    reason: str = ""


def write_metrics(path: str | Path, rows: Sequence[MetricRow]) -> None:
    """Write ``metrics.csv``."""
    table = pd.DataFrame([asdict(row) for row in rows]).astype({"pairs": "Int64"})
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")


def fold_row(metric: str, fold: FoldPredictions, value: float, **others: object) -> MetricRow:
    """Return the row of a metric on the test part of a fold, with its patients and events."""
    n, events = len(fold.test), int(fold.test["event"].sum())
    if not n:
        value, others["reason"] = np.nan, "no test patients"
    return MetricRow(metric, fold.fold, value, n=n, events=events, **others)


def with_mean(
    rows: Sequence[MetricRow], folds: Sequence[FoldPredictions], draws: np.ndarray
) -> list[MetricRow]:
    """Return the rows of the folds and that of their mean, with the intervals of the draws.

    Parameters
    ----------
    rows : one a fold.
    folds : in the same order.
    draws : [draws, folds], the metric in each bootstrap draw.
    """
    own = [with_interval(row, draws[:, k]) for k, row in enumerate(rows)]
    return [*own, _mean_row(own, folds, draws.mean(axis=1))]


def _mean_row(
    rows: list[MetricRow], folds: Sequence[FoldPredictions], draws: np.ndarray
) -> MetricRow:
    """Return the row of the mean over folds; undefined if a fold is."""
    values = np.array([row.value for row in rows])
    pairs = [row.pairs for row in rows]
    reasons = {row.fold: _own_reason(row) for row in rows}
    mean = over_all(
        rows[0].metric, MEAN, folds, float(values.mean()),
        sd_over_folds=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
        pairs=None if None in pairs else sum(pairs),
        start=_nan_or(np.nanmin, [row.start for row in rows]),
        end=_nan_or(np.nanmax, [row.end for row in rows]),
        reason=joined(*(f"fold {fold}: {reason}" for fold, reason in reasons.items() if reason)),
    )  # fmt: skip
    return with_interval(mean, draws)


def over_all(
    metric: str, fold: str, folds: Sequence[FoldPredictions], value: float, **others: object
) -> MetricRow:
    """Return the row of a metric over all folds, with each test patient counted once."""
    patients = pd.concat([fold.test for fold in folds]).drop_duplicates("patient_id")
    n, events = len(patients), int(patients["event"].sum())
    return MetricRow(metric, fold, value, n=n, events=events, **others)


def with_interval(row: MetricRow, draws: np.ndarray) -> MetricRow:
    """Return the row with its percentile interval, withheld where draws are too often undefined."""
    if np.isnan(row.value):
        return row
    interval = percentile_interval(draws)
    reason = joined(row.reason, interval.reason)
    return replace(row, low=interval.low, high=interval.high, reason=reason)


def grid_ends(grid: np.ndarray) -> dict[str, float]:
    """Return start and end of a grid of times as columns of a row."""
    return {"start": float(grid[0]), "end": float(grid[-1])} if len(grid) else {}


def joined(*reasons: str) -> str:
    """Return the reasons that say something, with semicolons between them."""
    return "; ".join(reason for reason in reasons if reason)


def _own_reason(row: MetricRow) -> str:
    """Return what is wrong with a fold itself, without what its interval says."""
    return "; ".join(part for part in row.reason.split("; ") if "bootstrap" not in part)


def _nan_or(least_or_most: np.ufunc, values: Sequence[float]) -> float:
    return float(least_or_most(values)) if np.isfinite(values).any() else np.nan
