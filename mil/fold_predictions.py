"""Predictions of an experiment, fold by fold, as its evaluation and its comparison read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mil.problems import InputError

COLUMNS = ["patient_id", "part", "time", "event", "risk", "predicted_time"]


class PredictionError(InputError):
    """Predictions that cannot be evaluated; the sentences name file, patient and value."""


@dataclass(frozen=True)
class FoldPredictions:
    """One fold: what it was trained on and what it is judged on.

    Parameters
    ----------
    fold : its number, from 0.
    train, test : tables with patient_id, time, event, risk, predicted_time (NaN where none); of a
        column ``use``, train has the labelled patients: what is fitted here sees no others.
    unlabelled, validation : likewise, training patients whose labels were hidden, and validation.
    """

    fold: int
    train: pd.DataFrame
    test: pd.DataFrame
    unlabelled: pd.DataFrame
    validation: pd.DataFrame

    @property
    def finite(self) -> bool:
        """Whether every risk of both parts is a number."""
        return bool(np.isfinite(self.train["risk"]).all() and np.isfinite(self.test["risk"]).all())

    @property
    def triple(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Time, event and risk of the test patients."""
        return tuple(self.test[name].to_numpy() for name in ("time", "event", "risk"))

    @property
    def patients(self) -> list[str]:
        """Ids of the test patients."""
        return self.test["patient_id"].tolist()


def read_predictions(paths: Sequence[str | Path]) -> list[FoldPredictions]:
    """Read the ``predictions.csv`` of all folds, in the order given.

    Raises
    ------
    PredictionError : all mistakes of all files.
    """
    tables = [pd.read_csv(path, dtype={"patient_id": str, "part": str}) for path in paths]
    problems = [
        f"{path}: {sentence}"
        for path, table in zip(paths, tables, strict=True)
        for sentence in _mistakes(table)
    ]
    if problems:
        raise PredictionError(problems)
    return [_divide(fold, table) for fold, table in enumerate(tables)]


def first_repeat(folds: Sequence[FoldPredictions]) -> list[FoldPredictions]:
    """Return the first folds in which no patient is tested twice.

    With repeated cross-validation every repeat tests all patients; figures that show patients show
    each of them once.
    """
    seen: set[str] = set()
    chosen = []
    for fold in folds:
        patients = set(fold.test["patient_id"])
        if seen & patients:
            break
        seen |= patients
        chosen.append(fold)
    return chosen


def _divide(fold: int, table: pd.DataFrame) -> FoldPredictions:
    use = table["use"] if "use" in table else "labelled"
    columns = [column for column in COLUMNS if column != "part"]

    def part(name: str, using: str | None = None) -> pd.DataFrame:
        chosen = (table["part"] == name) & (using is None or use == using)
        return table.loc[chosen, columns].reset_index(drop=True)

    return FoldPredictions(
        fold,
        train=part("train", "labelled"),
        test=part("test"),
        unlabelled=part("train", "unlabelled"),
        validation=part("validation"),
    )


def _mistakes(table: pd.DataFrame) -> list[str]:
    """Return what is wrong with one table, in sentences."""
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        return [f"no column {', '.join(missing)}; predict_fold writes {', '.join(COLUMNS)}."]
    found = [
        f"patient {patient} is in it more than once."
        for patient in table.loc[table["patient_id"].duplicated(), "patient_id"]
    ]
    for row in table[~(table["time"] > 0)].itertuples():
        found.append(f"time is {row.time} for patient {row.patient_id}; it must be above 0.")
    for row in table[~table["event"].isin([0, 1])].itertuples():
        found.append(
            f"event is {row.event} for patient {row.patient_id}; it must be 1 (event seen) or 0 "
            "(censored)."
        )
    return found
