"""The patients of a fold: which part each is in, its time and its event."""

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mil.fold_parts import PARTS, FoldError
from mil.problems import listed
from mil.seeds import seed_for


@dataclass(frozen=True)
class FoldPatients:
    """Patients of a fold that have a usable slide, in the order of the fold file.

    Attributes
    ----------
    table : columns patient_id, part, time (float64), event (int64).
    skipped : ids of the fold's patients without a usable slide.
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
    permute: int | None = None,
    seed: int = 0,
    fold_index: int = 0,
) -> FoldPatients:
    """Read a fold and its labels; leave out patients without a usable slide.

    Parameters
    ----------
    fold : CSV with patient_id, part.
    patients : CSV with patient_id, time, event.
    usable : patients that have a bag.
    permute : number of a null experiment. Pairs (time, event) are then shuffled among the patients
        of each part, the same way for every model.
    seed, fold_index : what the shuffle is seeded with, besides ``permute`` and the part.

    Raises
    ------
    FoldError : all mistakes of the two tables; a part with nobody left; no event to train on.
    """
    name = Path(fold).name
    rows = pd.read_csv(fold, dtype=str, keep_default_na=False)
    labels = pd.read_csv(patients, dtype={"patient_id": str}, keep_default_na=False)
    labels = labels.drop_duplicates("patient_id").set_index("patient_id")
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
        if patient not in labels.index
    ]
    if problems:
        raise FoldError(problems)

    here = np.array([patient in usable for patient in rows["patient_id"]], dtype=bool)
    table = rows.loc[here, ["patient_id", "part"]].reset_index(drop=True)
    table["time"] = labels.loc[table["patient_id"], "time"].to_numpy(np.float64)
    table["event"] = labels.loc[table["patient_id"], "event"].to_numpy(np.int64)
    wanted = [part for part in PARTS if part != "test" or "test" in set(rows["part"])]
    problems = [
        f"{name}: no {part} patient has a usable slide; there must be one. Use fewer folds, or see "
        "the excluded slides of the cohort."
        for part in wanted
        if not (table["part"] == part).any()
    ]
    train = table[table["part"] == "train"]
    if len(train) and not train["event"].any():
        problems.append(
            f"{name}: none of the {len(train)} training patients has an event; nothing can be "
            "learned. Use fewer folds, or stratify them by event."
        )
    if problems:
        raise FoldError(problems)
    if permute is not None:
        table = _permuted(table, permute, seed, fold_index)
    return FoldPatients(table, tuple(rows.loc[~here, "patient_id"]))


def _permuted(table: pd.DataFrame, repeat: int, seed: int, fold_index: int) -> pd.DataFrame:
    """Return the table with (time, event) shuffled jointly inside each part."""
    table = table.copy()
    for part in PARTS:
        rows = np.flatnonzero(table["part"] == part)
        random = np.random.default_rng(seed_for(seed, "permute", repeat, fold_index, part))
        source = rows[random.permutation(len(rows))]
        for column in ("time", "event"):
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
