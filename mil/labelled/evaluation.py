"""Judge one experiment of a task with labels: metrics, figures, training curves."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.alarms import gather_alarms, write_alarms
from mil.figures import save_figure
from mil.fold_metrics import MEAN, POOLED
from mil.labelled.confusion_figure import confusion_table, draw_confusion
from mil.labelled.metrics import metric_rows
from mil.labelled.number_figure import draw_numbers, number_table
from mil.labelled.predictions import LabelFold, read_label_predictions
from mil.labelled.reliability_figure import draw_reliability, reliability_table
from mil.labelled.rows import write_label_metrics
from mil.labelled.threshold_figure import draw_thresholds, threshold_table
from mil.tasks import task_of
from mil.tasks.labelled import LabelTask
from mil.training_curves import draw_training_curves, read_histories, write_training_curves
from wsi.storage import atomic

log = logging.getLogger(__name__)


def evaluate_labels(
    *,
    name: str,
    task: Mapping[str, Any],
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    histories: Sequence[str | Path],
    metrics: str | Path,
    alarms: str | Path,
    figures: Mapping[str, str | Path],
    training_curves: str | Path,
    training_curves_csv: str | Path,
    bootstrap: int,
    seed: int,
) -> None:
    """Evaluate the test parts of all folds of an experiment.

    Decisions between two classes use a threshold that the validation part of the fold chose.

    Parameters
    ----------
    name : of the experiment, for titles.
    task : see ``mil.tasks``.
    predictions, draws, histories : ``predictions.csv``, ``draws.npz`` and ``history.csv`` of each
        fold, in the order of the folds.
    metrics : output, CSV, rows of ``mil.labelled.rows.LabelRow``: a row a fold, then ``mean``; what
        is over all folds at once has the fold ``pooled``.
    alarms : output, CSV ``fold,alarm``.
    figures : outputs, SVG by name (``mil.tasks.FIGURES``); a CSV of the same name is written beside
        each.
    training_curves, training_curves_csv : outputs, SVG and what it shows.
    bootstrap : draws of patients inside each fold behind each interval.
    seed : of the configuration.

    Raises
    ------
    mil.problems.InputError : predictions or histories that cannot be used, in sentences.
    """
    predicted = task_of(task)
    folds = read_label_predictions(predictions, predicted, draws)
    rows = metric_rows(folds, predicted, bootstrap, seed)
    write_label_metrics(metrics, rows)
    for figure, path in figures.items():
        draw_figure(figure, path, folds, predicted, name)

    history = read_histories(histories)
    write_alarms(alarms, gather_alarms(folds, history))
    write_training_curves(training_curves_csv, history)
    save_figure(draw_training_curves(history, name), training_curves)
    for row in rows:
        if row.fold in (MEAN, POOLED):
            log.info("%s: %s %.3f [%.3f, %.3f] %s", name, row.metric, row.value, row.low, row.high,
                     row.reason)  # fmt: skip


def draw_figure(
    figure: str, path: str | Path, folds: Sequence[LabelFold], task: LabelTask, name: str
) -> None:
    """Write a figure of ``mil.tasks.FIGURES``, and what it shows as CSV beside it."""
    if figure == "confusion":
        table = confusion_table(folds, task)
        drawn = draw_confusion(table, task, name)
    elif figure == "thresholds":
        table = threshold_table(folds, task)
        drawn = draw_thresholds(table, folds, task, name)
    elif figure == "reliability":
        table = reliability_table(folds, task)
        drawn = draw_reliability(table, name)
    else:
        table = number_table(folds)
        drawn = draw_numbers(table, task.columns[0], name)
    _write(table, Path(path).with_suffix(".csv"))
    save_figure(drawn, path)


def _write(table: pd.DataFrame, path: Path) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
