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
    by : what the order is by, for a caption.
    value : [n], shown from the highest to the lowest.
    said : what was predicted of each.
    seen : what is true of each.
    """

    by: str
    value: NDArray[np.float64]
    said: list[str]
    seen: list[str]


def ranked(table: pd.DataFrame, task: LabelTask) -> Ranked:
    """Return the order of patients: by the probability of the positive class, or the like.

    Parameters
    ----------
    table : rows of ``predictions.csv``.
    task : whose labels they are.
    """
    told = table[list(task.told_columns)].to_numpy(np.float64)
    seen = [", ".join(map(str, row)) for row in table[list(task.columns)].to_numpy()]
    if not task.classes:
        return Ranked(f"predicted {task.columns[0]}", told[:, 0],
                      [f"predicted {value:.4g}" for value in told[:, 0]],
                      [f"measured {value}" for value in seen])  # fmt: skip
    if len(task.columns) > 1 or len(task.classes) == 2:
        first = 0 if len(task.columns) > 1 else 1
        name = task.names[first]
        seen = [", ".join(f"{c} {v}" for c, v in zip(task.columns, row, strict=True))
                for row in table[list(task.columns)].to_numpy()]  # fmt: skip
        said = [f"probability of {name} {value:.2f}" for value in told[:, first]]
        return Ranked(f"probability of {name}", told[:, first], said, seen)
    best = told.argmax(1)
    said = [
        f"predicted {task.classes[k]} ({p:.0%})" for k, p in zip(best, told.max(1), strict=True)
    ]
    if task.score == "kappa":
        return Ranked("expected grade", told @ np.arange(told.shape[1]), said, seen)
    (truth,) = task.arrays(task.numbers(table))
    of_own = told[np.arange(len(told)), truth.astype(int)]
    return Ranked("probability of the true class", of_own, said, seen)
