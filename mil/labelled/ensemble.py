"""One prediction of labels for each patient, or slide, from the models of all folds."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mil.fold_parts import SEEN
from mil.labelled.cohort_prediction import add_decisions, mean_thresholds, read_predicted
from mil.problems import InputError
from mil.tasks import task_of
from wsi.storage import atomic

log = logging.getLogger(__name__)


def join_label_models(
    *,
    task: Mapping[str, Any],
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    ensemble: str | Path,
) -> None:
    """Join what the models of all folds predict of the labels of a further cohort.

    Probabilities, and numbers, are averaged over the models. A decision holds the mean probability
    against the mean of the models' thresholds; of more than two classes it is the one with the
    highest mean probability.

    Parameters
    ----------
    task : see ``mil.tasks``.
    predictions, draws : what ``predict_cohort`` wrote, by fold.
    ensemble : output, CSV (``slide_id`` and) ``patient_id``, ``seen_by``, the models that were
        trained or chosen on the patient, ``probability_<class>`` of each class or ``predicted``,
        ``sd_<class>`` or ``sd``, their standard deviation over models, and ``decision``.

    Raises
    ------
    mil.problems.InputError : files of different patients.
    """
    predicted = task_of(task)
    ids = list(dict.fromkeys([f"{predicted.unit}_id", "patient_id"]))
    tables = [read_predicted(path) for path in predictions]
    for path, table in zip(predictions, tables, strict=True):
        if not table[ids].equals(tables[0][ids]):
            raise InputError([f"{path}: others than in {predictions[0]}; predict again."])
    joined = tables[0][ids].copy()
    joined["seen_by"] = sum(table["part"].isin(SEEN).astype(int) for table in tables)
    columns = list(predicted.told_columns)
    told = np.stack([table[columns].to_numpy(np.float64) for table in tables])  # [models, n, C]
    joined[columns] = told.mean(axis=0)
    spread = ["sd"]
    if predicted.classes:
        spread = [f"sd_{column.removeprefix('probability_')}" for column in columns]
    joined[spread] = told.std(axis=0, ddof=1) if len(told) > 1 else np.nan
    add_decisions(joined, mean_thresholds(draws), predicted)
    with atomic(ensemble) as partial:
        joined.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
    log.info("%d models, %d %ss", len(tables), len(joined), predicted.unit)
