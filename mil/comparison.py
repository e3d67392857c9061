"""Put experiments side by side: one table, one picture, differences on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.compared_experiment import ComparedExperiment
from mil.comparison_text import describe_comparison
from mil.figures import save_figure
from mil.fold_metrics import MEAN
from mil.fold_predictions import FoldPredictions, PredictionError, read_predictions
from mil.forest import draw_forest
from mil.paired import paired_difference, shared_patients
from mil.survival.metrics.bootstrap import percentile_interval
from wsi.storage import atomic


def compare_experiments(
    *,
    names: Sequence[str],
    predictions: Mapping[str, Sequence[str | Path]],
    metrics: Sequence[str | Path],
    comparison: str | Path,
    text: str | Path,
    forest: str | Path,
    bootstrap: int,
    seed: int,
) -> None:
    """Compare experiments by Harrell's C, mean over folds.

    Parameters
    ----------
    names : of the experiments.
    predictions : ``predictions.csv`` of each fold, for each name.
    metrics : ``metrics.csv`` of each experiment, in the order of the names.
    comparison : output, CSV, a row an experiment; the highest C first, ties by name.
    text : output, the same as a table for a terminal, up to 100 columns wide.
    forest : output, SVG: C of every fold, mean and interval.
    bootstrap : draws behind the intervals of the differences; both experiments see the same draws.
    seed : of the configuration.

    Raises
    ------
    mil.problems.InputError : predictions that cannot be compared, in sentences.
    """
    tables = [pd.read_csv(path, dtype={"fold": str}) for path in metrics]
    found = [_read_experiment(name, t) for name, t in zip(names, tables, strict=True)]
    folds = {name: read_predictions(predictions[name]) for name in names}
    _check_folds(folds)
    # NaN last: an undefined C is no rank.
    found.sort(key=lambda row: (np.isnan(row.c_index), -np.nan_to_num(row.c_index), row.experiment))
    best = found[0]
    rows = [replace(best, difference=best.c_index - best.c_index, shared=best.n)] + [
        _against_best(row, folds[row.experiment], folds[best.experiment], bootstrap, seed)
        for row in found[1:]
    ]

    with atomic(comparison) as partial:
        pd.DataFrame([asdict(row) for row in rows]).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
    with atomic(text) as partial:
        partial.write_text(describe_comparison(rows, bootstrap), encoding="utf-8")
    points = {name: _of_folds(t) for name, t in zip(names, tables, strict=True)}
    save_figure(draw_forest(rows, points), forest)


def _read_experiment(name: str, metrics: pd.DataFrame) -> ComparedExperiment:
    """Return an experiment's row from its ``metrics.csv``, still without a difference."""
    mean = metrics[metrics["fold"] == MEAN].set_index("metric")
    own = mean.loc["c_index"]
    return ComparedExperiment(
        name,
        *(float(own[column]) for column in ("value", "low", "high", "sd_over_folds")),
        pair_weighted_c=float(mean.loc["c_index_pair_weighted", "value"]),
        n=int(own["n"]),
        events=int(own["events"]),
        folds=len(_of_folds(metrics)),
        reason="" if pd.isna(own["reason"]) else own["reason"],
    )


def _of_folds(metrics: pd.DataFrame) -> np.ndarray:
    """Return C of every fold, [folds]."""
    own = metrics[(metrics["metric"] == "c_index") & (metrics["fold"] != MEAN)]
    return own["value"].to_numpy(np.float64)


def _check_folds(folds: Mapping[str, list[FoldPredictions]]) -> None:
    """Refuse experiments that were not judged on the same folds."""
    (first, reference), *others = folds.items()
    problems = [
        f"Experiment {name} has {len(own)} folds and {first} has {len(reference)}; only "
        "experiments on the same folds can be compared."
        for name, own in others
        if len(own) != len(reference)
    ]
    if problems:
        raise PredictionError(problems)


def _against_best(
    row: ComparedExperiment,
    own: list[FoldPredictions],
    best: list[FoldPredictions],
    bootstrap: int,
    seed: int,
) -> ComparedExperiment:
    """Return the row with its paired difference: same patients, same bootstrap draws."""
    both = [shared_patients(*pair) for pair in zip(own, best, strict=True)]
    shared = len(set().union(*(t["patient_id"] for t in both)))
    if any((t[label] != t[f"{label}_other"]).any() for t in both for label in ("time", "event")):
        # Labels permuted in another way: the same patients, but not the same outcomes.
        reason = "no difference, other labels than in the first row"
        reason = f"{row.reason}; {reason}" if row.reason else reason
        return replace(row, shared=shared, reason=reason)
    difference, draws = paired_difference(both, bootstrap, seed)
    row = replace(row, difference=difference, shared=shared)
    if np.isnan(row.difference):
        return row
    interval = percentile_interval(draws)
    return replace(row, difference_low=interval.low, difference_high=interval.high)
