"""Cross-validation folds by patient: drawn and balanced, or read from fixed files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mil.drawn_folds import draw_folds
from mil.fixed_folds import read_fixed_folds
from mil.fold_parts import PARTS, FoldError
from mil.problems import listed
from mil.table_writer import write_table
from mil.tables import Patient, read_patients, read_slides


def make_folds(
    *,
    slides: str | Path,
    patients: str | Path,
    folds: Sequence[str | Path],
    cohort_patients: str | Path,
    excluded: str | Path,
    k: int,
    validation: float,
    stratify: str,
    repeats: int,
    files: str | Path | None,
    seed: int,
    strict: bool,
    exclude: Sequence[str] = (),
    unit: str | None = None,
) -> None:
    """Check both tables and write the usable patients, the excluded ones and all folds.

    Parameters
    ----------
    slides, patients : the two tables.
    folds : output, ``patient_id,part`` for each fold; repeat r has files r * k to r * k + k - 1.
    cohort_patients : output, ``patient_id,time,event,n_slides`` and the table's other columns.
    excluded : output, ``patient_id,reason``.
    k, validation, stratify, repeats : see `draw_folds`.
    files : template of fixed folds, ``{}`` for the fold; see `read_fixed_folds`.
    seed : the configuration's seed.
    strict : refuse patients without usable follow-up or without slides instead of listing them.
    exclude : ids of slides left out on purpose.
    unit : unit of the times, to notice a wrong one.

    Raises
    ------
    TableError, FoldError : with a sentence for each thing wrong.
    """
    table = read_patients(patients, unit)
    n_slides = Counter(slide.patient_id for slide in read_slides(slides, exclude, need_paths=False))
    left_out = _left_out(table, n_slides, str(slides), str(patients))
    if strict and left_out:
        raise FoldError(
            f"patient {name}: {reason}. With strict: true this stops the run."
            for name, reason in sorted(left_out.items())
        )
    usable = sorted((p for p in table if p.patient_id not in left_out), key=lambda p: p.patient_id)

    if files:
        paths = [str(files).replace("{}", str(fold)) for fold in range(k)]
        known = {patient.patient_id for patient in table}
        made = read_fixed_folds(paths, usable, known, validation, stratify, seed)
        named = set().union(*made)
        unnamed = [p.patient_id for p in usable if p.patient_id not in named]
        left_out |= dict.fromkeys(unnamed, "named by none of the fixed folds")
        usable = [patient for patient in usable if patient.patient_id in named]
    else:
        made = draw_folds(usable, k, validation, stratify, repeats, seed)
    check_folds(made, usable, repeats)

    extra = sorted({name for patient in usable for name in patient.extra})
    write_table(
        cohort_patients,
        ["patient_id", "time", "event", "n_slides", *extra],
        (
            [p.patient_id, p.time, p.event, n_slides[p.patient_id]]
            + [p.extra.get(name, "") for name in extra]
            for p in usable
        ),
    )
    write_table(excluded, ["patient_id", "reason"], sorted(left_out.items()))
    for path, fold in zip(folds, made, strict=True):
        write_table(path, ["patient_id", "part"], sorted(fold.items()))


def check_folds(
    folds: Sequence[Mapping[str, str]], patients: Sequence[Patient], repeats: int = 1
) -> None:
    """Refuse folds that could not be trained or judged honestly.

    Raises
    ------
    FoldError
        A training or test part without an event, an empty validation part, or a patient in more
        than one test part of a repeat.
    """
    event = {patient.patient_id: patient.event for patient in patients}
    problems = []
    for number, fold in enumerate(folds):
        for part in PARTS:
            members = [name for name, its in fold.items() if its == part]
            events = sum(event[name] for name in members)
            if not members:
                problems.append(f"fold {number}: its {part} part has no patient.")
            elif not events and part != "validation":
                problems.append(
                    f"fold {number}: none of the {len(members)} patients of its {part} part has "
                    "an event; use fewer folds or stratify by event."
                )
    per_repeat = len(folds) // repeats
    for repeat in range(repeats):
        tested = Counter(
            name
            for fold in folds[repeat * per_repeat : (repeat + 1) * per_repeat]
            for name, part in fold.items()
            if part == "test"
        )
        often = sorted(name for name, times in tested.items() if times > 1)
        if often:
            problems.append(f"in the test part of more than one fold: {listed(often)}.")
    if problems:
        raise FoldError(problems)


def _left_out(
    table: Sequence[Patient], n_slides: Mapping[str, int], slides: str, patients: str
) -> dict[str, str]:
    reasons = {patient.patient_id: patient.unusable for patient in table if patient.unusable}
    known = {patient.patient_id for patient in table}
    for name in sorted(known - set(n_slides) - set(reasons)):
        reasons[name] = "no slide in the slide table"
    for name in sorted(set(n_slides) - known):
        reasons[name] = f"not in the patient table (slides: {n_slides[name]})"
    return reasons
