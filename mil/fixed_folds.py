"""Folds read from files: AdvMIL's ``.npz`` or our own ``patient_id,part``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mil.drawn_folds import draw_validation
from mil.fold_parts import PARTS, FoldError
from mil.problems import InputError, listed
from mil.seeds import seed_for
from mil.tables import read_rows

FIXED_PARTS = {"train_patients": "train", "val_patients": "validation", "test_patients": "test"}


def read_fixed_folds(
    paths: Sequence[str],
    strata: Mapping[str, tuple],
    known: set[str],
    validation: float,
    seed: int,
) -> list[dict[str, str]]:
    """Read fixed folds, without the patients that cannot be used.

    Where a file has no test part, its validation part becomes the test part and a validation part
    is drawn from its training part: what is reported must not be what stopped the training.

    Parameters
    ----------
    paths : one file a fold, see `read_fixed_fold`.
    strata : of each patient with a usable label and slides.
    known : ids of the patient table.
    validation, seed : as for `deal_folds`, for files without a test part.

    Raises
    ------
    FoldError : a file is wrong, or names patients that are not in the patient table (all named).
    """
    folds, problems = [], []
    for number, path in enumerate(paths):
        try:
            fold = read_fixed_fold(path)
        except InputError as error:
            problems += error.problems
            continue
        unknown = sorted(set(fold) - known)
        if unknown:
            problems.append(
                f"{path}: {len(unknown)} patients are not in the patient table: "
                f"{listed(unknown, len(unknown))}."
            )
        has_test = "test" in fold.values()
        fold = {name: part for name, part in sorted(fold.items()) if name in strata}
        if not has_test:
            fold = _as_held_out(fold, strata, validation, seed_for(seed, "validation", 0, number))
        folds.append(fold)
    if problems:
        raise FoldError(problems)
    return folds


def patients_tested(paths: Sequence[str]) -> set[str]:
    """Return the patients that are in the test part of any of these files, or in what becomes it.

    Raises
    ------
    FoldError : as for `read_fixed_fold`.
    """
    tested = set()
    for fold in map(read_fixed_fold, paths):
        held_out = "test" if "test" in fold.values() else "validation"
        tested |= {name for name, part in fold.items() if part == held_out}
    return tested


def read_fixed_fold(path: str | Path) -> dict[str, str]:
    """Read one fixed fold: part by patient id.

    ``.npz`` with ``train_patients, val_patients`` and, optionally, ``test_patients`` (AdvMIL's;
    ids may be numbers), or ``.csv`` with ``patient_id, part``.

    Raises
    ------
    FoldError : no such file, a part missing or unknown, or a patient in two parts.
    """
    path = Path(path)
    if not path.is_file():
        raise FoldError([f"{path}: there is no such fold file; mend folds.files or folds.k."])
    rows = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    problems = [
        f"{path}: part is {part} for patient {name}; it must be one of {listed(PARTS)}."
        for name, part in rows
        if part not in PARTS
    ]
    twice = sorted(name for name, times in Counter(n for n, _ in rows).items() if times > 1)
    if twice:
        problems.append(f"{path}: more than once in the fold: {listed(twice)}.")
    if problems:
        raise FoldError(problems)
    return dict(rows)


def _read_csv(path: Path) -> list[tuple[str, str]]:
    return [(row["patient_id"], row["part"]) for row in read_rows(path, ("patient_id", "part"))]


def _read_npz(path: Path) -> list[tuple[str, str]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            ids = {key: archive[key].tolist() for key in archive.files}
    except ValueError:
        raise FoldError(
            [f"{path}: it cannot be read as plain arrays; write ids as numbers or text."]
        ) from None
    lacking = [key for key in ("train_patients", "val_patients") if key not in ids]
    if lacking:
        raise FoldError([f"{path}: no {listed(lacking)} in it; it has {listed(ids)}."])
    return [(str(name), part) for key, part in FIXED_PARTS.items() for name in ids.get(key, [])]


def _as_held_out(
    fold: Mapping[str, str], strata: Mapping[str, tuple], validation: float, seed: int
) -> dict[str, str]:
    rest = {name: strata[name] for name, part in fold.items() if part == "train"}
    inner = draw_validation(rest, validation, seed)
    return {
        name: "test" if name not in rest else "validation" if name in inner else "train"
        for name in fold
    }
