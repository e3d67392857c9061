"""Predictions of an experiment, fold by fold, as its evaluation and its comparison read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.problems import InputError
from mil.stored_curves import read_alarms, read_curves
from mil.survival.curves import SurvivalCurves
from mil.survival.metrics.brier import brier_grid

COLUMNS = ["patient_id", "part", "time", "event", "risk", "predicted_time", "time_flag"]


class PredictionError(InputError):
    """Predictions that cannot be evaluated; the sentences name file, patient and value."""


@dataclass(frozen=True)
class FoldPredictions:
    """One fold: what it was trained on and what it is judged on.

    Parameters
    ----------
    fold : its number, from 0.
    train, test : tables with patient_id, time, event, risk, predicted_time (NaN where none) and
        time_flag (see ``mil.prediction``); of a column ``use``, train has the labelled patients:
        what is fitted here sees no others.
    curves : survival curves of the test patients; None where the head has none or nobody asked.
    alarms : sentences on degenerate predictions of the test part.
    unlabelled, validation : tables as train, of training patients whose labels were hidden, and of
        the validation part.
    """

    fold: int
    train: pd.DataFrame
    test: pd.DataFrame
    curves: SurvivalCurves | None = None
    alarms: tuple[str, ...] = ()
    unlabelled: pd.DataFrame = field(default_factory=pd.DataFrame)
    validation: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def finite(self) -> bool:
        """Whether every risk of both parts is a number."""
        return bool(np.isfinite(self.train["risk"]).all() and np.isfinite(self.test["risk"]).all())

    @property
    def triple(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Time, event and risk of the test patients."""
        return tuple(self.test[name].to_numpy() for name in ("time", "event", "risk"))

    @property
    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """Time and event of the training patients."""
        return tuple(self.train[name].to_numpy() for name in ("time", "event"))

    @property
    def grid(self) -> np.ndarray:
        """Times at which curves are judged: ``brier_grid``, empty where there is none."""
        if not len(self.test) or not self.train["event"].any():
            return np.zeros(0)
        return brier_grid(*self.training, self.test["time"])

    @property
    def patients(self) -> list[str]:
        """Ids of the test patients."""
        return self.test["patient_id"].tolist()


def read_predictions(
    paths: Sequence[str | Path], draws: Sequence[str | Path] | None = None
) -> list[FoldPredictions]:
    """Read the ``predictions.csv`` of all folds, in the order given.

    Parameters
    ----------
    paths : one a fold.
    draws : ``draws.npz`` of each, for survival curves and alarms.

    Raises
    ------
    PredictionError : all mistakes of all files.
    """
    text = {"patient_id": str, "part": str, "time_flag": str}
    tables = [pd.read_csv(path, dtype=text) for path in paths]
    problems = [
        f"{path}: {sentence}"
        for path, table in zip(paths, tables, strict=True)
        for sentence in _mistakes(table)
    ]
    if problems:
        raise PredictionError(problems)
    folds = [_divide(fold, table) for fold, table in enumerate(tables)]
    if draws is None:
        return folds
    return [
        replace(fold, curves=read_curves(fold.test, path), alarms=read_alarms(path))
        for fold, path in zip(folds, draws, strict=True)
    ]


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
        return table.loc[chosen, columns].fillna({"time_flag": ""}).reset_index(drop=True)

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
