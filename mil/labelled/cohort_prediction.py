"""What a model says of the labels of a further cohort: its table, and how it came to decisions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.labelled.predictions import as_part
from mil.labelled.thresholds import decide, thresholds_of
from mil.tasks.labelled import LabelTask
from wsi.storage import load_npz

log = logging.getLogger(__name__)


def read_history(trained: str | Path | None, name: str, task: LabelTask) -> pd.DataFrame:
    """Return what ``predict_fold`` said of the fold of a model, no row where it is not known.

    Parameters
    ----------
    trained : its ``predictions.csv``, or None.
    name : of the model, for the warning.
    task : what it predicts.
    """
    if trained is None:
        thresholds = "thresholds are 0.5, and " if task.classes else ""
        log.warning(
            "model %s comes without predictions of its own fold: %swhether it was trained on "
            "patients of this cohort is not known.",
            *(name, thresholds),
        )
        columns = [f"{task.unit}_id", "patient_id", "part", *task.columns, *task.told_columns]
        return pd.DataFrame(columns=list(dict.fromkeys(columns)), dtype=str)
    ids = {"patient_id": str, "slide_id": str, "part": str}
    return pd.read_csv(trained, dtype=ids | task.dtypes, keep_default_na=False)


def told_labels(
    task: LabelTask, cohort: str | Path, bags: Sequence[str], whole: Any, history: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, NDArray]]:
    """Return the table of a model and what is stored beside it.

    Parameters
    ----------
    task : what is predicted.
    cohort : usable slides.
    bags : ids of the patients, or slides, that were predicted.
    whole : their prediction, in this order.
    history : see `read_history`.

    Returns
    -------
    table : (``slide_id`` and) ``patient_id``, ``part``, ``probability_<class>`` of each class or
        ``predicted``, and the columns of `add_decisions`.
    arrays : patient_id [n] of the bags, spread [n, C] or [n], and thresholds (``mil.labelled.
        thresholds``), chosen on the validation part of the model's own fold.
    """
    table = pd.DataFrame({f"{task.unit}_id": list(bags)})
    if task.unit == "slide":
        owners = pd.read_csv(cohort, dtype=str).set_index("slide_id")["patient_id"]
        table["patient_id"] = table["slide_id"].map(owners)
    part = history.drop_duplicates("patient_id").set_index("patient_id")["part"]
    table["part"] = table["patient_id"].map(part).fillna("")
    table = pd.concat([table, task.predicted(whole)], axis=1)
    validation = as_part(history[history["part"] == "validation"], task)
    thresholds = thresholds_of(validation.truth, validation.told)
    add_decisions(table, thresholds, task)
    arrays = {"patient_id": np.array(bags), "spread": whole.spread, "thresholds": thresholds}
    return table, arrays


def add_decisions(table: pd.DataFrame, thresholds: NDArray, task: LabelTask) -> None:
    """Put the class that the probabilities say into the table; of numbers nothing.

    It is in ``decision``, of several labels in ``decision_<label>``.
    """
    if not task.classes:
        return
    decided = decide(table[list(task.told_columns)].to_numpy(np.float64), thresholds)
    classes = np.array(task.classes)
    if decided.ndim == 1:
        table["decision"] = classes[decided]
    else:
        for column, own in zip(task.columns, decided.T, strict=True):
            table[f"decision_{column}"] = classes[own]


def read_predicted(path: str | Path) -> pd.DataFrame:
    """Return predictions of a further cohort, of one model or of all."""
    ids = {"patient_id": str, "slide_id": str, "part": str}
    return pd.read_csv(path, dtype=ids, keep_default_na=False)


def mean_thresholds(draws: Sequence[str | Path]) -> NDArray[np.float64]:
    """Return the mean over models of the thresholds that ``predict_cohort`` stored."""
    return np.mean([load_npz(path)[0]["thresholds"] for path in draws], axis=0)
