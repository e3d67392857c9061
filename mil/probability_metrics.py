"""Whether predicted survival probabilities are right: Brier score, D-calibration, coverage."""

from collections.abc import Sequence

import numpy as np

from mil.fold_metrics import POOLED, MetricRow, fold_row, grid_ends, over_all, with_mean
from mil.fold_predictions import FoldPredictions, first_repeat
from mil.survival.metrics.bootstrap import bootstrap_means, ratio
from mil.survival.metrics.brier import brier_parts, integrated, marginal_curves
from mil.survival.metrics.calibration import DCalibration, d_calibration, share_within

COVERED = (0.5, 0.8, 0.95)


def brier_rows(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> list[MetricRow]:
    """Return the integrated Brier score, that of the training curve, and the scaled score.

    The scaled one is ``1 - ibs / ibs_km``; 0 or less is no better than the curve of the training
    part for everybody. No rows where the head has no survival curves.
    """
    if any(fold.curves is None for fold in folds):
        return []
    patients = [fold.patients for fold in folds]
    parts = [_integrated_parts(fold) for fold in folds]  # a patient each: their mean is the score
    draws = [
        bootstrap_means([(p[k], np.ones(len(p[k]))) for p in parts], bootstrap, seed, patients)
        for k in (0, 1)
    ]
    means = [[float(p[k].mean()) if len(p[k]) else np.nan for p in parts] for k in (0, 1)]
    scaled = 1 - ratio(*map(np.array, means))
    columns = {
        "ibs": (means[0], draws[0]),
        "ibs_km": (means[1], draws[1]),
        "ibs_scaled": (scaled.tolist(), 1 - ratio(*draws)),
    }
    rows = []
    for metric, (values, drawn) in columns.items():
        own = [
            fold_row(
                metric, fold, value, **grid_ends(fold.grid),
                reason="" if np.isfinite(value) else _why(fold),
            )
            for fold, value in zip(folds, values, strict=True)
        ]  # fmt: skip
        rows += with_mean(own, folds, drawn)
    return rows


def _integrated_parts(fold: FoldPredictions) -> tuple[np.ndarray, np.ndarray]:
    """Return what each test patient adds to the score of the curves and of the training curve."""
    grid, n = fold.grid, len(fold.test)
    if len(grid) < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    labels = (fold.test["time"], fold.test["event"], *fold.training)
    both = (fold.curves.at(grid), marginal_curves(grid, n, *fold.training))
    return tuple(integrated(brier_parts(curves, grid, *labels), grid) for curves in both)


def _why(fold: FoldPredictions) -> str:
    if len(fold.grid) < 2:
        return "fewer than two times to integrate over"
    return "a survival curve is missing, or the grid leaves the training follow-up"


def pooled_calibration(folds: Sequence[FoldPredictions]) -> DCalibration | None:
    """Return the D-calibration of all test patients, each once; None where it has no meaning.

    Probabilities share a scale, so folds may be pooled. It needs survival at exact times: of a few
    time bins, and without curves, there is none.
    """
    p_and_event = probability_integrals(folds)
    return None if p_and_event is None else d_calibration(*p_and_event)


def probability_integrals(
    folds: Sequence[FoldPredictions],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return S_i(t_i) and event of all test patients, each once; None as `pooled_calibration`."""
    if not has_exact_curves(folds):
        return None
    used = first_repeat(folds)
    p = [fold.curves.probability_integral(fold.test["time"]) for fold in used]
    return np.concatenate(p), np.concatenate([fold.test["event"] for fold in used])


def has_exact_curves(folds: Sequence[FoldPredictions]) -> bool:
    """Return whether survival is known at exact times, not only at the edges of time bins."""
    return all(fold.curves is not None and not fold.curves.straight for fold in folds)


def calibration_rows(folds: Sequence[FoldPredictions]) -> list[MetricRow]:
    """Return the D-calibration over all test parts; no rows where it has no meaning."""
    found = pooled_calibration(folds)
    if found is None:
        return []
    values = {"d_calibration_chi2": found.statistic, "d_calibration_p": found.p_value}
    return [
        over_all(metric, POOLED, folds, value, reason=found.reason)
        for metric, value in values.items()
    ]


def coverage_rows(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> list[MetricRow]:
    """Return how often central intervals hold the time, of all patients and of events alone.

    Of a censored patient, what lies beyond its censoring is spread as the curve has it (the rule of
    D-calibration). Events alone are the early ones: their coverage is biased.
    """
    if not has_exact_curves(folds):
        return []
    patients = [fold.patients for fold in folds]
    rows = []
    for level in COVERED:
        ends = (1 - level) / 2, (1 + level) / 2
        inside = [
            share_within(
                fold.curves.probability_integral(fold.test["time"]), fold.test["event"], *ends
            )
            for fold in folds
        ]
        events = [fold.test["event"].to_numpy(np.float64) for fold in folds]
        for suffix, weights in (("", [np.ones(len(e)) for e in events]), ("_events", events)):
            parts = list(zip(inside, weights, strict=True))
            metric = f"coverage_{100 * level:.0f}{suffix}"
            own = [_coverage_row(metric, f, *p) for f, p in zip(folds, parts, strict=True)]
            rows += with_mean(own, folds, bootstrap_means(parts, bootstrap, seed, patients))
    return rows


def _coverage_row(
    metric: str, fold: FoldPredictions, inside: np.ndarray, weights: np.ndarray
) -> MetricRow:
    if not weights.any():
        return fold_row(metric, fold, np.nan, reason="no events")
    finite = np.isfinite(fold.curves.at_own(fold.test["time"])).all()
    reason = "" if finite else "a survival curve is missing"
    value = float(np.average(inside, weights=weights)) if finite else np.nan
    return fold_row(metric, fold, value, reason=reason)
