"""The patients of a fold: which part each is in, and its label: time and event, or a target."""

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mil.fold_parts import PARTS, FoldError
from mil.problems import listed
from mil.seeds import seed_for
from mil.tasks import task_of
from mil.tasks.base import Task


@dataclass(frozen=True)
class FoldPatients:
    """Patients of a fold that have a usable slide, in the order of the fold file.

    Attributes
    ----------
    table : columns patient_id, part, then those of the task as numbers: of survival time (float64)
        and event (int64). Where slides are the units ``patient_id`` is the slide's id, and
        ``owner`` its patient.
    skipped : ids of the fold's patients (or slides) that are not usable.
    """

    table: pd.DataFrame
    skipped: tuple[str, ...]

    def part(self, name: str) -> pd.DataFrame:
        """Return the rows of ``train``, ``validation`` or ``test``."""
        return self.table[self.table["part"] == name].reset_index(drop=True)


def read_fold(
    fold: str | Path,
    patients: str | Path,
    usable: Container[str],
    *,
    task: Task | None = None,
    permute: int | None = None,
    seed: int = 0,
    fold_index: int = 0,
) -> FoldPatients:
    """Read a fold and its labels; leave out patients without a usable slide.

    Parameters
    ----------
    fold : CSV with patient_id, part.
    patients : CSV with patient_id, time, event, or the labels of the task.
    usable : patients, or slides, that have a bag.
    task : what is predicted; None for survival.
    permute : number of a null experiment. Labels (pairs of time and event) are then shuffled among
        the patients of each part, the same way for every model.
    seed, fold_index : what the shuffle is seeded with, besides ``permute`` and the part.

    Raises
    ------
    FoldError : all mistakes of the two tables; a part with nobody left; no event to train on.
    """
    task = task or task_of(None)
    name = Path(fold).name
    rows = pd.read_csv(fold, dtype=str, keep_default_na=False)
    ids = {"patient_id": str, "slide_id": str}
    labels = pd.read_csv(patients, dtype=ids | task.dtypes, keep_default_na=False)
    labels = labels.drop_duplicates(f"{task.unit}_id")
    known = set(labels["patient_id"])
    problems = [
        f"{name}: patient {patient} is in it {count} times."
        for patient, count in rows["patient_id"].value_counts(sort=False).items()
        if count > 1
    ]
    problems += [
        f"{name}: part {part!r} must be one of {', '.join(PARTS)}."
        for part in sorted(set(rows["part"]) - set(PARTS))
    ]
    problems += [
        f"{name}: patient {patient} is not in {Path(patients).name}."
        for patient in rows["patient_id"]
        if patient not in known
    ]
    if problems:
        raise FoldError(problems)

    every = rows[["patient_id", "part"]].merge(labels, on="patient_id", how="left")
    if task.unit == "slide":
        every = every.rename(columns={"patient_id": "owner", "slide_id": "patient_id"})
    here = np.array([bag in usable for bag in every["patient_id"]], dtype=bool)
    own = ["patient_id", "part", *(["owner"] if task.unit == "slide" else [])]
    chosen = every[here].reset_index(drop=True)
    table = pd.concat([chosen[own], task.numbers(chosen)], axis=1)
    wanted = [part for part in PARTS if part != "test" or "test" in set(rows["part"])]
    problems = [
        f"{name}: no {part} patient has a usable slide; there must be one. Use fewer folds, or see "
        "the excluded slides of the cohort."
        for part in wanted
        if not (table["part"] == part).any()
    ]
    train = table[table["part"] == "train"]
    if len(train) and (lacking := task.unlearnable(train)):
        problems.append(
            f"{name}: none of the {len(train)} training {task.unit}s has {lacking}; nothing can be "
            f"learned. Use fewer folds, or stratify them by {task.balance}."
        )
    if problems:
        raise FoldError(problems)
    if permute is not None:
        table = _permuted(table, task.columns, permute, seed, fold_index)
    return FoldPatients(table, tuple(every.loc[~here, "patient_id"]))


def _permuted(
    table: pd.DataFrame, columns: Sequence[str], repeat: int, seed: int, fold_index: int
) -> pd.DataFrame:
    """Return the table with the label columns shuffled jointly inside each part."""
    table = table.copy()
    for part in PARTS:
        rows = np.flatnonzero(table["part"] == part)
        random = np.random.default_rng(seed_for(seed, "permute", repeat, fold_index, part))
        source = rows[random.permutation(len(rows))]
        for column in columns:
            values = table[column].to_numpy().copy()
            values[rows] = values[source]
            table[column] = values
    return table


def patients_sha256(patients: Sequence[str]) -> str:
    """Return the SHA-256 of the sorted patient list: what fitted values are stamped with."""
    return hashlib.sha256("\n".join(sorted(patients)).encode()).hexdigest()


def describe_skipped(skipped: Sequence[str]) -> str:
    """Return a sentence that counts and lists patients without a usable slide."""
    return f"left out, without a usable slide: {listed(skipped)}."
