"""Judge one experiment: metrics of its test parts, risk groups, training curves."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mil.alarms import gather_alarms, write_alarms
from mil.figures import save_figure
from mil.fold_metrics import MEAN, POOLED, write_metrics
from mil.fold_predictions import read_predictions
from mil.kaplan_meier_figure import draw_kaplan_meier
from mil.probability_metrics import brier_rows, calibration_rows, coverage_rows
from mil.rank_metrics import antolini_rows, auc_rows, concordance_rows, uno_rows
from mil.risk_groups import logrank_rows, split_by_risk, write_curves
from mil.time_metrics import time_error_rows
from mil.training_curves import draw_training_curves, read_histories, write_training_curves

PERMUTATIONS = 1000

log = logging.getLogger(__name__)


def evaluate_experiment(
    *,
    name: str,
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    histories: Sequence[str | Path],
    metrics: str | Path,
    alarms: str | Path,
    curves: str | Path,
    kaplan_meier: str | Path,
    training_curves: str | Path,
    training_curves_csv: str | Path,
    horizons: Sequence[float],
    bootstrap: int,
    seed: int,
    unit: str,
) -> None:
    """Evaluate the test parts of all folds of an experiment.

    The training parts are used for the thresholds of the risk groups, and for nothing else.

    Parameters
    ----------
    name : of the experiment, for titles.
    predictions : ``predictions.csv`` of each fold, in the order of the folds.
    draws : ``draws.npz`` of each fold, with what survival curves are made of.
    histories : ``history.csv`` of each fold.
    metrics : output, CSV, a row a fold, then ``mean``; what is over all folds at once has the fold
        ``pooled``. Columns are those of ``mil.fold_metrics.MetricRow``.
    alarms : output, CSV ``fold,alarm``, sentences on degenerate predictions of the test parts and
        on discriminators without a task.
    curves : output, CSV of the Kaplan-Meier curves by risk group, pooled and of each fold.
    kaplan_meier : output, SVG of the pooled curves.
    training_curves, training_curves_csv : outputs, SVG and what it shows.
    horizons : times of the AUC, in the unit of the times.
    bootstrap : draws behind each interval; patients are resampled inside each fold, and those of
        further repeats count as in the first.
    seed : of the configuration.
    unit : of the times, for the axis.

    Raises
    ------
    mil.problems.InputError : predictions or histories that cannot be used, in sentences.
    """
    folds = read_predictions(predictions, draws)
    rows = [
        *concordance_rows(folds, bootstrap, seed),
        *uno_rows(folds, bootstrap, seed),
        *antolini_rows(folds, bootstrap, seed),
        *auc_rows(folds, horizons, bootstrap, seed),
        *time_error_rows(folds, bootstrap, seed),
        *brier_rows(folds, bootstrap, seed),
        *calibration_rows(folds),
        *coverage_rows(folds, bootstrap, seed),
    ]
    groups = split_by_risk(folds)
    tests = logrank_rows(groups, PERMUTATIONS, seed)
    write_metrics(metrics, rows + tests)

    write_curves(curves, groups)
    save_figure(draw_kaplan_meier(groups, tests[-1].value, name, unit), kaplan_meier)

    history = read_histories(histories)
    write_alarms(alarms, gather_alarms(folds, history))
    write_training_curves(training_curves_csv, history)
    save_figure(draw_training_curves(history, name), training_curves)
    for row in rows:
        if row.fold in (MEAN, POOLED):
            log.info(
                "%s: %s %.3f [%.3f, %.3f] %s",
                name,
                row.metric,
                row.value,
                row.low,
                row.high,
                row.reason,
            )
