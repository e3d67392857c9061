"""Predictions of labels, fold by fold, as evaluation and comparison read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.fold_predictions import PredictionError
from mil.labelled.thresholds import decide, thresholds_of
from mil.stored_curves import read_alarms
from mil.survival.metrics.bootstrap import fold_counts
from mil.tasks.labelled import LabelTask


@dataclass(frozen=True)
class Part:
    """Predictions of the test or the validation part of a fold.

    Attributes
    ----------
    ids : of patients or, where those are the units, of slides.
    patients : whose they are; draws of the bootstrap are of patients.
    truth : [n] number of the class or measured number, or [n, K] labels; NaN where unknown.
    told : [n, C] probabilities, or [n] numbers.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    truth: NDArray[np.float64]
    told: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of patients or slides."""
        return len(self.ids)

    def at(self, rows: Sequence[int]) -> "Part":
        """Return some of the rows."""
        ids = tuple(self.ids[row] for row in rows)
        return Part(
            ids, tuple(self.patients[row] for row in rows), self.truth[rows], self.told[rows]
        )


@dataclass(frozen=True)
class LabelFold:
    """One fold, or the ensemble of all: what is judged and how its probabilities become decisions.

    Attributes
    ----------
    fold : its number, from 0, or what else it is called.
    test : what it is judged on.
    thresholds : of decisions, see ``mil.labelled.thresholds``; ``chosen_on`` so many patients (or
        slides) of the validation part.
    alarms : sentences on degenerate predictions.
    """

    fold: int | str
    test: Part
    thresholds: NDArray[np.float64]
    chosen_on: int = 0
    alarms: tuple[str, ...] = ()

    @property
    def decided(self) -> NDArray[np.int64]:
        """The predicted class [n] of the test part, or of several labels 0 or 1, [n, K]."""
        return decide(self.test.told, self.thresholds)


def read_label_predictions(
    paths: Sequence[str | Path], task: LabelTask, draws: Sequence[str | Path] | None = None
) -> list[LabelFold]:
    """Read the ``predictions.csv`` of all folds, in the order given.

    Parameters
    ----------
    paths : one a fold.
    task : whose labels they are.
    draws : ``draws.npz`` of each, for alarms.

    Raises
    ------
    PredictionError : a file without the columns of the task, or with a value that is no number.
    """
    ids = {"patient_id": str, "slide_id": str, "part": str}
    alarms = [read_alarms(path) for path in draws] if draws else [()] * len(paths)
    folds, problems = [], []
    for fold, (path, own) in enumerate(zip(paths, alarms, strict=True)):
        table = pd.read_csv(path, dtype=ids | task.dtypes, keep_default_na=False)
        wanted = [f"{task.unit}_id", "patient_id", "part", *task.columns, *task.told_columns]
        missing = [column for column in wanted if column not in table]
        if missing:
            problems.append(f"{path}: no column {', '.join(missing)}; predict_fold writes it.")
            continue
        told = table[list(task.told_columns)].to_numpy(np.float64)
        for row in np.flatnonzero(~np.isfinite(told).all(1)):
            problems.append(
                f"{path}: the prediction of {table[f'{task.unit}_id'][row]} is not a number."
            )
        validation, test = (
            as_part(table[table["part"] == name], task) for name in ("validation", "test")
        )
        thresholds = thresholds_of(validation.truth, validation.told)
        folds.append(LabelFold(fold, test, thresholds, len(validation), own))
    if problems:
        raise PredictionError(problems)
    return folds


def as_part(table: pd.DataFrame, task: LabelTask) -> Part:
    """Return rows of ``predictions.csv``, labels as text, as numbers."""
    (truth,) = task.arrays(task.numbers(table))
    told = table[list(task.told_columns)].to_numpy(np.float64)
    return Part(
        tuple(table[f"{task.unit}_id"]),
        tuple(table["patient_id"]),
        truth,
        told if task.classes else told[:, 0],
    )


def row_counts(folds: Sequence[Part], draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Return how often each row of each fold is in each bootstrap draw, [draws, n].

    Patients are drawn, with all their slides; of one tested in several repeats as in the first.
    """
    patients = [list(dict.fromkeys(part.patients)) for part in folds]
    counts = fold_counts([len(names) for names in patients], draws, seed, patients)
    for part, names, drawn in zip(folds, patients, counts, strict=True):
        place = {name: k for k, name in enumerate(names)}
        yield drawn[:, [place[name] for name in part.patients]]


def each_once(folds: Sequence[LabelFold]) -> list[LabelFold]:
    """Return the first folds in which nobody is tested twice: one repeat."""
    seen: set[str] = set()
    chosen = []
    for fold in folds:
        if seen & set(fold.test.ids):
            break
        seen |= set(fold.test.ids)
        chosen.append(fold)
    return chosen
