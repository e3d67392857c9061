"""What tasks with label columns share: tables, folds, targets."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mil.label_table import Labelled, read_labels
from mil.tasks.base import Task

PARTS_OF_RANGE = 3  # strata of a number


class LabelTask(Task):
    """A task whose labels are columns of a table.

    Parameters
    ----------
    columns : of the table.
    classes : names of the classes; of several columns what a cell may be, absent first; empty for
        numbers.
    unit : ``patient`` or ``slide``.
    """

    def __init__(self, columns: Sequence[str], classes: Sequence[str], unit: str) -> None:
        self.columns = tuple(columns)
        self.classes = tuple(classes)
        self.unit = unit

    def read(
        self, patients: str | Path, slides: str | Path, exclude: Sequence[str], unit: str | None
    ) -> list[Labelled]:
        """Return the patients of the patient table, or the slides of the slide table."""
        path = slides if self.unit == "slide" else patients
        cases = read_labels(path, self.columns, self.classes, self.unit)
        return [case for case in cases if case.slide_id not in set(exclude)]

    def strata(self, cases: Sequence[Labelled], stratify: str) -> dict[str, tuple]:
        """Return the labels of each patient; of one with several slides those that it has."""
        strata: dict[str, set] = defaultdict(set)
        for case, own in zip(cases, self.own_strata(cases), strict=True):
            strata[case.patient_id].add(own)
        balanced = stratify != "none"
        return {
            name: tuple(sorted(own)) if balanced else () for name, own in sorted(strata.items())
        }

    def own_strata(self, cases: Sequence[Labelled]) -> list[tuple]:
        """Return what folds are balanced over, of each case: its labels."""
        return [tuple(case.labels.values()) for case in cases]

    def needed(self) -> list[tuple[str, str]]:
        """Return column and value that training and test parts must have; none of numbers."""
        return []

    def too_few(self, cases: Sequence[Labelled], k: int) -> list[str]:
        """Return a sentence for each label with fewer patients than folds."""
        problems, everybody = [], {case.patient_id for case in cases}
        for column, value in self.needed():
            own = {case.patient_id for case in cases if case.labels[column] == value}
            if len(own) < k:
                problems.append(
                    f"{len(own)} of {len(everybody)} usable patients "
                    f"{'has' if len(own) == 1 else 'have'} {column} {value}; {k} folds need {k}: "
                    "lower folds.k, add patients, or join classes."
                )
        return problems

    def wanting(self, cases: Sequence[Labelled], part: str) -> str:
        """Return the first label that nobody has, but in a validation part."""
        there = {(column, value) for case in cases for column, value in case.labels.items()}
        missing = [pair for pair in self.needed() if pair not in there]
        return "" if part == "validation" or not missing else " ".join(missing[0])

    def header(self, cases: Sequence[Labelled]) -> list[str]:
        """Return ids and labels; of patients the number of slides too."""
        if self.unit == "slide":
            return ["slide_id", "patient_id", *self.columns]
        return ["patient_id", *self.columns, "n_slides"]

    def row(self, case: Labelled, n_slides: Mapping[str, int]) -> list[object]:
        """Return the labels of a case."""
        if self.unit == "slide":
            return [case.slide_id, case.patient_id, *case.labels.values()]
        return [case.patient_id, *case.labels.values(), n_slides[case.patient_id]]

    def numbers(self, labels: pd.DataFrame) -> pd.DataFrame:
        """Return the number of each class, from 0, or the number itself; NaN where unknown."""
        places = {name: float(place) for place, name in enumerate(self.classes)}
        return pd.DataFrame(
            {
                column: labels[column].map(places).to_numpy(np.float64)
                if self.classes
                else pd.to_numeric(labels[column].replace("", np.nan)).to_numpy(np.float64)
                for column in self.columns
            }
        )

    def text(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return label columns as the user's table has them: the names of classes."""
        names = dict(enumerate(self.classes))
        return pd.DataFrame(
            {
                column: part[column].map(names).fillna("") if self.classes else part[column]
                for column in self.columns
            }
        )

    def unlearnable(self, train: pd.DataFrame) -> str:
        """Return what no training patient has."""
        for column in self.columns:
            if train[column].nunique() < 2:
                return f"a second value of {column}"
        return ""

    def told(self, part: pd.DataFrame, prediction) -> pd.DataFrame:
        """Return labels and what was predicted."""
        return pd.concat([self.text(part), self.predicted(prediction)], axis=1)

    @property
    def told_columns(self) -> tuple[str, ...]:
        """Names of the predicted columns of ``predictions.csv``."""
        return ("predicted",)


def counted_values(part: pd.DataFrame, column: str, names: Sequence[str]) -> dict[str, int]:
    """Return how many patients of a part have each class of a column."""
    counts = Counter(part[column].dropna().astype(int))
    return {name: counts.get(place, 0) for place, name in enumerate(names)}
