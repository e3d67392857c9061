"""Errors of predicted times, in their unit; numbers of different variants are never compared."""

from collections.abc import Callable, Sequence

import numpy as np

from mil.fold_metrics import MetricRow, fold_row, with_mean
from mil.fold_predictions import FoldPredictions
from mil.survival.metrics.bootstrap import bootstrap_means
from mil.survival.metrics.surrogate_times import SurrogateTimes, margin_times, pseudo_times
from mil.survival.metrics.time_errors import hinge_errors

ErrorsAndWeights = tuple[np.ndarray, np.ndarray]


def time_error_rows(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> list[MetricRow]:
    """Return the absolute errors of predicted times; no rows where the head predicts none.

    ``mae_pseudo``, the primary one, and ``mae_margin``: censored times are replaced by surrogates
    of the training part's curve. ``mae_uncensored``: over events. ``mae_hinge``: censored patients
    count only if their predicted time is before their censoring.
    """
    if all(fold.test["predicted_time"].isna().all() for fold in folds):
        return []
    variants: dict[str, Callable[[FoldPredictions], ErrorsAndWeights]] = {
        "mae_pseudo": lambda fold: _against(fold, pseudo_times),
        "mae_margin": lambda fold: _against(fold, margin_times),
        "mae_uncensored": lambda fold: (_hinge(fold), fold.test["event"].to_numpy(np.float64)),
        "mae_hinge": lambda fold: (_hinge(fold), np.ones(len(fold.test))),
    }
    patients = [fold.patients for fold in folds]
    rows = []
    for metric, errors_of in variants.items():
        parts = [errors_of(fold) for fold in folds]
        # Who does not count must not turn a draw into NaN.
        weighed = [(np.where(weights == 0, 0.0, errors), weights) for errors, weights in parts]
        draws = bootstrap_means(weighed, bootstrap, seed, patients)
        own = [_row(metric, fold, *part) for fold, part in zip(folds, parts, strict=True)]
        rows += with_mean(own, folds, draws)
    return rows


def _hinge(fold: FoldPredictions) -> np.ndarray:
    return hinge_errors(fold.test["predicted_time"], fold.test["time"], fold.test["event"])


def _against(
    fold: FoldPredictions, surrogates: Callable[..., SurrogateTimes]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors against surrogate times, and their weights."""
    of = surrogates(fold.test["time"], fold.test["event"], *fold.training)
    return np.abs(fold.test["predicted_time"].to_numpy() - of.time), of.weight


def _row(metric: str, fold: FoldPredictions, errors: np.ndarray, weights: np.ndarray) -> MetricRow:
    counted = weights != 0  # NaN counts: it must be told
    missing = ~np.isfinite(fold.test["predicted_time"][counted])
    value, reason = np.nan, ""
    if not counted.any():
        reason = "no events"
    elif missing.any():
        flags = fold.test["time_flag"][counted][missing]
        what = (
            "medians are not reached"
            if (flags == "not reached").all()
            else "predicted times are missing"
        )
        reason = f"{missing.sum()} of {counted.sum()} {what}"
    elif not np.isfinite(errors[counted]).all():
        reason = "no event in the training part"
    else:
        value = float(np.average(errors[counted], weights=weights[counted]))
    return fold_row(metric, fold, value, reason=reason)
