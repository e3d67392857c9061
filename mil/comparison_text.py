"""The comparison as a table for a terminal."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np

from mil.compared_experiment import ComparedExperiment

WIDTH = 100
_NAME = 26  # a longer name has a line of its own
_NO_VALUE = "-"
_BESIDE = (
    "Uno C: pairs weighted for censoring, up to the tau in metrics.csv. Scaled IBS: 1 - integrated "
    "Brier score / that of the training part's Kaplan-Meier curve; 0 or less is no better than the "
    "same curve for everybody. D-cal. p: small means that the predicted probabilities are wrong. A "
    "dash: the head does not have it."
)


def describe_comparison(rows: Sequence[ComparedExperiment], bootstrap: int) -> str:
    """Return heading, aligned table and notes; no line is wider than 100 columns.

    Parameters
    ----------
    rows : groups of experiments, the best one first, each followed by its members.
    bootstrap : draws behind the intervals.
    """
    columns = _columns(rows)
    names = [_name(row) for row in rows]
    main = [
        [name, *(cell(row) for cell in columns.values())]
        for name, row in zip(names, rows, strict=True)
    ]
    beside = [[name, *_cells_beside(row)] for name, row in zip(names, rows, strict=True)]
    lines = [
        *_heading(rows, bootstrap),
        "",
        *aligned_table(["experiment", *columns], main),
        *_notes(rows),
    ]
    lines += ["", *aligned_table(["experiment", "Uno C", "scaled IBS", "D-cal. p"], beside)]
    return "\n".join([*lines, *wrapped(_BESIDE)]) + "\n"


def aligned_table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Return cells in aligned columns below their titles, between rules."""
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    name_width = min(_NAME, widths[0], WIDTH - sum(widths[1:]) - 2 * len(widths[1:]))
    table = []
    for name, *values in [titles, *cells]:
        if len(name) > name_width:
            table += textwrap.wrap(name, WIDTH, break_on_hyphens=False)
            name = ""
        aligned = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        table.append("  ".join([name.ljust(name_width), *aligned]).rstrip())
    rule = "-" * max(map(len, table))
    return [table[0], rule, *table[1:], rule]


def _columns(
    rows: Sequence[ComparedExperiment],
) -> dict[str, Callable[[ComparedExperiment], str]]:
    """Return the cells of a row by title; columns that would say nothing are left out."""
    columns = {
        "C-index": lambda row: _number(row.c_index),
        "95 % interval": _interval,
        "SD": lambda row: _number(row.sd_over_folds),
    }
    if any(row.seeds > 1 for row in rows):
        columns["SD seeds"] = lambda row: _number(row.sd_over_seeds)
    if any(not np.isnan(row.sd_over_repeats) for row in rows):
        columns["SD repeats"] = lambda row: _number(row.sd_over_repeats)
    if len(_sizes(rows)) > 1:  # otherwise the heading says it
        columns |= {"n": lambda row: str(row.n), "events": lambda row: str(row.events)}
    if len(_groups(rows)) > 1:
        columns["vs best"] = lambda row: _difference(row, is_best=row is rows[0])
    return columns


def _heading(rows: Sequence[ComparedExperiment], bootstrap: int) -> list[str]:
    sizes = _sizes(rows)
    if len(sizes) == 1:
        n, events = sizes.pop()
        on = f"n = {n} patients, {events} events"
    else:
        on = "patients and events differ between experiments, see their columns"
    groups = _groups(rows)
    trained = _count(sum(row.seeds for row in groups), "experiment")
    if any(row.seeds > 1 for row in groups):
        trained += f" in {_count(len(groups), 'group')} of seeds"
    return [
        f"{trained}: {on}, {_count(rows[0].folds, 'fold')}",
        *wrapped(
            "C-index: Harrell's C on test patients, mean over folds. 95 % interval: percentiles of "
            f"{bootstrap} bootstrap draws of patients inside each fold; models are not retrained."
        ),
    ]


def _notes(rows: Sequence[ComparedExperiment]) -> list[str]:
    notes = ["SD: over folds, a spread and not an interval. C = 0.5 is what a coin gives."]
    if any(row.seeds > 1 for row in rows):
        notes.append(
            "Groups of seeds: C is the mean over seeds, its SD over folds is that of the means; SD "
            "seeds is over seeds, of means over folds. Every seed sees the same bootstrap draws."
        )
    if any(not np.isnan(row.sd_over_repeats) for row in rows):
        notes.append("SD repeats: over repeats of the folds, of the means over their folds.")
    if len(_groups(rows)) > 1:
        notes.append(
            f"vs best: C-index minus that of {rows[0].experiment}, on the same patients and the "
            "same bootstrap draws; 95 % interval."
        )
    notes += [
        f"{row.experiment}: compared on the {row.shared} patients that both experiments have."
        for row in _groups(rows)[1:]
        if row.shared < max(row.n, rows[0].n)
    ]
    reasons = dict.fromkeys(row.reason for row in rows if row.reason)
    notes += [
        f"{', '.join(row.experiment for row in rows if row.reason == reason)}: {reason}."
        for reason in reasons
    ]
    return [line for note in notes for line in wrapped(note)]


def _name(row: ComparedExperiment) -> str:
    """Return the name, of a member only what its group does not say."""
    if row.is_member:
        return "  " + row.experiment.removeprefix(f"{row.group}.")
    return row.experiment


def _difference(row: ComparedExperiment, *, is_best: bool) -> str:
    if is_best and not np.isnan(row.c_index):
        return "best"
    if row.is_member or np.isnan(row.difference):
        return "" if row.is_member else _NO_VALUE
    if np.isnan(row.difference_low):
        return f"{row.difference:+.3f}"
    return f"{row.difference:+.3f} [{row.difference_low:+.3f}, {row.difference_high:+.3f}]"


def _interval(row: ComparedExperiment) -> str:
    return _NO_VALUE if np.isnan(row.low) else f"[{row.low:.3f}, {row.high:.3f}]"


def _number(value: float) -> str:
    return _NO_VALUE if np.isnan(value) else f"{value:.3f}"


def _groups(rows: Sequence[ComparedExperiment]) -> list[ComparedExperiment]:
    return [row for row in rows if not row.is_member]


def _cells_beside(row: ComparedExperiment) -> list[str]:
    values = (row.uno_c, row.ibs_scaled, row.d_calibration_p)
    uno, scaled, p = (_NO_VALUE if np.isnan(value) else f"{value:.3f}" for value in values)
    return [uno, scaled, "< 0.001" if row.d_calibration_p < 0.001 else p]


def _sizes(rows: Sequence[ComparedExperiment]) -> set[tuple[int, int]]:
    return {(row.n, row.events) for row in rows}


def wrapped(text: str) -> list[str]:
    """Return a note in lines of at most 100 columns."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
