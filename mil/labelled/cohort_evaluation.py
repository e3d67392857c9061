"""Judge models of labels on a further cohort: each fold's model, and their ensemble."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from mil.cohort_evaluation import ENSEMBLE
from mil.fold_metrics import POOLED
from mil.fold_parts import SEEN
from mil.labelled.cohort_prediction import mean_thresholds, read_predicted
from mil.labelled.evaluation import draw_figure
from mil.labelled.known_labels import with_labels
from mil.labelled.metrics import metric_rows
from mil.labelled.predictions import LabelFold, as_part
from mil.labelled.rows import write_label_metrics
from mil.problems import listed
from mil.tasks import task_of
from mil.tasks.labelled import LabelTask
from wsi.storage import load_npz

WHERE = "among those evaluated"

log = logging.getLogger(__name__)


def evaluate_predicted_labels(
    *,
    name: str,
    task: Mapping[str, Any],
    labels: str | Path,
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    ensemble: str | Path,
    metrics: str | Path,
    figures: Mapping[str, str | Path],
    bootstrap: int,
    seed: int,
) -> None:
    """Evaluate one experiment on a further cohort with labels.

    Patients whom a model was trained or chosen on are left out of its evaluation, and out of the
    ensemble's if any model was. Nothing is fitted here: thresholds are those of the models.

    Parameters
    ----------
    name : of the experiment, for titles.
    task : see ``mil.tasks``.
    labels : the cohort's table of patients, or of slides; those without a label are not evaluated.
    predictions, draws : what ``predict_cohort`` wrote, by fold.
    ensemble : what ``join_label_models`` wrote.
    metrics : output, CSV as of ``evaluate_labels``: a row for the model of each fold, one for their
        ``mean``, and one for the ``ensemble``.
    figures : outputs, SVG by name (``mil.tasks.FIGURES``), of the ensemble; a CSV of the same name
        is written beside each.
    bootstrap : draws of patients behind each interval; a patient counts alike for all models.
    seed : of the configuration.

    Raises
    ------
    mil.problems.InputError : a table that cannot be used, in sentences.
    """
    predicted = task_of(task)
    folds = []
    for fold, (path, of_model) in enumerate(zip(predictions, draws, strict=True)):
        table = read_predicted(path)
        fresh = table[~table["part"].isin(SEEN)]
        thresholds = load_npz(of_model)[0]["thresholds"]
        folds.append(_as_fold(fold, fresh, labels, thresholds, predicted))
    joined = read_predicted(ensemble)
    fresh = joined[joined["seen_by"] == 0]
    whole = _as_fold(ENSEMBLE, fresh, labels, mean_thresholds(draws), predicted)
    ids = joined[f"{predicted.unit}_id"]
    without = ids[~ids.isin(with_labels(joined, labels, predicted)[f"{predicted.unit}_id"])]
    if len(without):
        log.warning("not evaluated, for want of a label: %s.", listed(without))

    rows = [
        row  # what is pooled over folds would hold the same patients again
        for row in metric_rows(folds, predicted, bootstrap, seed, WHERE)
        if row.fold != POOLED
    ]
    rows += [
        replace(row, fold=ENSEMBLE)
        for row in metric_rows([whole], predicted, bootstrap, seed, WHERE)
        if row.fold in (0, POOLED, ENSEMBLE)
    ]
    write_label_metrics(metrics, rows)
    for figure, path in figures.items():
        draw_figure(figure, path, [whole], predicted, f"{name}, ensemble of {len(folds)} models")
    for row in rows:
        if row.fold == ENSEMBLE:
            log.info("%s: %s %.3f [%.3f, %.3f] %s", name, row.metric, row.value, row.low, row.high,
                     row.reason)  # fmt: skip


def _as_fold(
    fold: int | str,
    table: pd.DataFrame,
    labels: str | Path,
    thresholds: NDArray,
    task: LabelTask,
) -> LabelFold:
    """Return those of a table who have a label as the test part of a fold."""
    return LabelFold(fold, as_part(with_labels(table, labels, task), task), thresholds)
