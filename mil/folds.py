"""Cross-validation folds by patient: drawn and balanced, or read from fixed files."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mil.drawn_folds import deal_folds
from mil.fixed_folds import read_fixed_folds
from mil.fold_parts import PARTS, FoldError
from mil.problems import listed
from mil.table_writer import write_table
from mil.tables import read_slides
from mil.tasks import task_of
from mil.tasks.base import Task

log = logging.getLogger(__name__)


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
    task: Mapping[str, Any] | None = None,
) -> None:
    """Check both tables and write the usable patients, the excluded ones and all folds.

    Parameters
    ----------
    slides, patients : the two tables.
    folds : output, ``patient_id,part`` for each fold; repeat r has files r * k to r * k + k - 1.
    cohort_patients : output, ``patient_id,time,event,n_slides`` and the table's other columns; of
        another task ``patient_id``, the label columns and ``n_slides``, or a row a slide with
        ``slide_id,patient_id`` and the label columns where slides have the labels.
    excluded : output, ``patient_id,reason``.
    k, validation, repeats : see `deal_folds`.
    stratify : ``event`` balances folds over what the task says, events and times or labels;
        ``none`` does not.
    files : template of fixed folds, ``{}`` for the fold; see `read_fixed_folds`.
    seed : the configuration's seed.
    strict : refuse patients without usable follow-up or without slides instead of listing them.
    exclude : ids of slides left out on purpose.
    unit : unit of the times, to notice a wrong one.
    task : what is predicted, see ``mil.tasks``; None for survival.

    Raises
    ------
    TableError, FoldError : with a sentence for each thing wrong.
    """
    predicted = task_of(task)
    table = predicted.read(patients, slides, exclude, unit)
    n_slides = Counter(slide.patient_id for slide in read_slides(slides, exclude, need_paths=False))
    left_out = _left_out(table, n_slides, str(slides), str(patients))
    if strict and left_out:
        raise FoldError(
            f"patient {name}: {reason}. With strict: true this stops the run."
            for name, reason in sorted(left_out.items())
        )
    usable = sorted(
        (case for case in table if case.patient_id not in left_out and not case.unusable),
        key=lambda case: case.patient_id,
    )

    if files:
        paths = [str(files).replace("{}", str(fold)) for fold in range(k)]
        known = {patient.patient_id for patient in table}
        strata = predicted.strata(usable, stratify)
        made = read_fixed_folds(paths, strata, known, validation, seed)
        named = set().union(*made)
        unnamed = [name for name in strata if name not in named]
        left_out |= dict.fromkeys(unnamed, "named by none of the fixed folds")
        usable = [case for case in usable if case.patient_id in named]
    else:
        if problems := predicted.too_few(usable, k):
            raise FoldError(problems)
        made = deal_folds(predicted.strata(usable, stratify), k, validation, repeats, seed)
    check_folds(made, usable, repeats, predicted)
    if predicted.unit == "slide":
        kept = {case.patient_id for case in usable}
        without = [c.slide_id for c in table if c.unusable and c.patient_id in kept]
        if without:
            log.warning("slides without a label are in no bag: %s.", listed(without))

    write_table(cohort_patients, *predicted.rows(usable, n_slides))
    write_table(excluded, ["patient_id", "reason"], sorted(left_out.items()))
    for path, fold in zip(folds, made, strict=True):
        write_table(path, ["patient_id", "part"], sorted(fold.items()))


def check_folds(
    folds: Sequence[Mapping[str, str]],
    cases: Sequence[Any],
    repeats: int = 1,
    task: Task | None = None,
) -> None:
    """Refuse folds that could not be trained or judged honestly.

    Raises
    ------
    FoldError
        A training or test part without an event (or a label of the task), an empty validation
        part, or a patient in more than one test part of a repeat.
    """
    task = task or task_of(None)
    problems = []
    for number, fold in enumerate(folds):
        for part in PARTS:
            members = {name for name, its in fold.items() if its == part}
            own = [case for case in cases if case.patient_id in members]
            if not members:
                problems.append(f"fold {number}: its {part} part has no patient.")
            elif lacking := task.wanting(own, part):
                problems.append(
                    f"fold {number}: none of the {len(members)} patients of its {part} part has "
                    f"{lacking}; use fewer folds or stratify by {task.balance}."
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
    table: Sequence[Any], n_slides: Mapping[str, int], slides: str, patients: str
) -> dict[str, str]:
    reasons = {case.patient_id: case.unusable for case in table if case.unusable}
    for case in table:
        if not case.unusable:  # one slide with a label will do
            reasons.pop(case.patient_id, None)
    known = {patient.patient_id for patient in table}
    for name in sorted(known - set(n_slides) - set(reasons)):
        reasons[name] = "no slide in the slide table"
    for name in sorted(set(n_slides) - known):
        reasons[name] = f"not in the patient table (slides: {n_slides[name]})"
    return reasons
