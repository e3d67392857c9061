"""In what order patients are shown, and what is said of each: where labels are predicted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.tasks.labelled import LabelTask


@dataclass(frozen=True)
class Ranked:
    """Rows of predictions in words.

    Attributes
    ----------
    value : [n], shown from the highest to the lowest.
    said : what was predicted of each.
    seen : what is true of each.
    """

    value: NDArray[np.float64]
    said: list[str]
    seen: list[str]


def ranked(table: pd.DataFrame, task: LabelTask) -> Ranked:
    """Return the order of patients and what is said of them.

    By the probability of the second of two classes or of the first of several labels, by the
    expected grade, by the probability of the true one of more classes, by a predicted number.

    Parameters
    ----------
    table : rows of ``predictions.csv``.
    task : whose labels they are.
    """
    told = table[list(task.told_columns)].to_numpy(np.float64)
    if not task.classes:
        said = [f"predicted {value:.4g}" for value in told[:, 0]]
        return Ranked(told[:, 0], said, [f"measured {v}" for v in table[task.columns[0]]])
    seen = _truth(table, task)
    if len(task.columns) > 1 or len(task.classes) == 2:
        place = 0 if len(task.columns) > 1 else 1
        value = told[:, place]
        said = [f"probability of {task.names[place]} {one:.2f}" for one in value]
        return Ranked(value, said, seen)
    best = told.argmax(1)
    said = [
        f"predicted {task.classes[k]} ({row[k]:.0%})" for k, row in zip(best, told, strict=True)
    ]
    if task.score == "kappa":
        return Ranked(told @ np.arange(told.shape[1]), said, seen)
    (truth,) = task.arrays(task.numbers(table))
    return Ranked(told[np.arange(len(told)), truth.astype(int)], said, seen)


def _truth(table: pd.DataFrame, task: LabelTask) -> list[str]:
    """Return what is true of each patient; of several labels each by its name."""
    rows = table[list(task.columns)].to_numpy()
    if len(task.columns) == 1:
        return [f"truth: {label}" for (label,) in rows]
    return [
        "truth: "
        + ", ".join(f"{name} {label}" for name, label in zip(task.columns, row, strict=True))
        for row in rows
    ]
