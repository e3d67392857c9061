"""The comparison as a table for a terminal."""

import textwrap
from collections.abc import Sequence

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
    rows : experiments, the best one first.
    bootstrap : draws behind the intervals.
    """
    header = ["experiment", "C-index", "95 % interval", "SD", "n", "events", "vs best"]
    cells = [_cells(row, is_best=k == 0) for k, row in enumerate(rows)]
    if len(_sizes(rows)) == 1:  # the heading says it
        header, *cells = [line[:4] + line[6:] for line in [header, *cells]]
    if len(rows) == 1:  # nothing to compare with
        header, *cells = [line[:-1] for line in [header, *cells]]
    beside = [["experiment", "Uno C", "scaled IBS", "D-cal. p"], *map(_cells_beside, rows)]
    lines = [*_heading(rows, bootstrap), "", *_table([header, *cells]), *_notes(rows), ""]
    return "\n".join([*lines, *_table(beside), *_wrapped(_BESIDE)]) + "\n"


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return cells in aligned columns, between rules; the first line is the header."""
    header, *cells = lines
    widths = [max(len(line[k]) for line in [header, *cells]) for k in range(1, len(header))]
    name_width = min(_NAME, max(len(line[0]) for line in [header, *cells]))
    table = []
    for line in [header, *cells]:
        name = line[0]
        if len(name) > name_width:
            table += textwrap.wrap(name, WIDTH, break_on_hyphens=False)
            name = ""
        values = [cell.rjust(width) for cell, width in zip(line[1:], widths, strict=True)]
        table.append("  ".join([name.ljust(name_width), *values]).rstrip())
    rule = "-" * max(map(len, table))
    return [table[0], rule, *table[1:], rule]


def _heading(rows: Sequence[ComparedExperiment], bootstrap: int) -> list[str]:
    sizes = _sizes(rows)
    if len(sizes) == 1:
        n, events = sizes.pop()
        on = f"n = {n} patients, {events} events"
    else:
        on = "patients and events differ between experiments, see their columns"
    return [
        f"{_count(len(rows), 'experiment')}: {on}, {_count(rows[0].folds, 'fold')}",
        *_wrapped(
            "C-index: Harrell's C on test patients, mean over folds. 95 % interval: percentiles of "
            f"{bootstrap} bootstrap draws of patients inside each fold; models are not retrained."
        ),
    ]


def _notes(rows: Sequence[ComparedExperiment]) -> list[str]:
    notes = ["SD: over folds, a spread and not an interval. C = 0.5 is what a coin gives."]
    if len(rows) > 1:
        notes.append(
            f"vs best: C-index minus that of {rows[0].experiment}, on the same patients and the "
            "same bootstrap draws; 95 % interval."
        )
    notes += [
        f"{row.experiment}: compared on the {row.shared} patients that both experiments have."
        for row in rows[1:]
        if row.shared < max(row.n, rows[0].n)
    ]
    reasons = dict.fromkeys(row.reason for row in rows if row.reason)
    notes += [
        f"{', '.join(row.experiment for row in rows if row.reason == reason)}: {reason}."
        for reason in reasons
    ]
    return [line for note in notes for line in _wrapped(note)]


def _cells(row: ComparedExperiment, *, is_best: bool) -> list[str]:
    difference = _NO_VALUE
    if is_best and not np.isnan(row.c_index):
        difference = "best"
    elif not np.isnan(row.difference):
        difference = f"{row.difference:+.3f}"
        if not np.isnan(row.difference_low):
            difference += f" [{row.difference_low:+.3f}, {row.difference_high:+.3f}]"
    interval = _NO_VALUE if np.isnan(row.low) else f"[{row.low:.3f}, {row.high:.3f}]"
    c_index, spread = (
        _NO_VALUE if np.isnan(value) else f"{value:.3f}"
        for value in (row.c_index, row.sd_over_folds)
    )
    return [row.experiment, c_index, interval, spread, str(row.n), str(row.events), difference]


def _cells_beside(row: ComparedExperiment) -> list[str]:
    values = (row.uno_c, row.ibs_scaled, row.d_calibration_p)
    uno, scaled, p = (_NO_VALUE if np.isnan(value) else f"{value:.3f}" for value in values)
    return [row.experiment, uno, scaled, "< 0.001" if row.d_calibration_p < 0.001 else p]


def _sizes(rows: Sequence[ComparedExperiment]) -> set[tuple[int, int]]:
    return {(row.n, row.events) for row in rows}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
