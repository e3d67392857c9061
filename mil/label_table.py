"""The labels of a cohort: columns of the patient table or, where slides are the units, of slides.

Read with the csv module, as the other tables: Snakemake reads them at every call.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mil.problems import did_you_mean, listed
from mil.tables import MISSING, Table

# columns of ours beside ids and labels
OF_SLIDES = ("path", "mpp", "tissue", "patches", "annotations")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A patient, or a slide, with its labels as text, empty where missing.

    `extra` has the table's other columns. `slide_id` is empty where patients are the units.
    """

    patient_id: str
    slide_id: str
    labels: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> str:
        """Why it cannot be used, or an empty string: no label at all is known."""
        if any(self.labels.values()):
            return ""
        columns = listed(self.labels)
        return f"no label: {columns} {'is' if len(self.labels) == 1 else 'are'} missing"


def read_labels(
    path: str | Path, columns: Sequence[str], classes: Sequence[str], unit: str = "patient"
) -> list[Labelled]:
    """Read the labels of all patients, or of all slides, in the order of the table.

    Parameters
    ----------
    path : CSV with ``patient_id`` (and ``slide_id``) and the columns; others pass.
    columns : of the labels.
    classes : what a cell may say; empty for numbers. An empty cell is a missing label.
    unit : ``patient`` or ``slide``.

    Raises
    ------
    TableError : with a sentence for each thing wrong.
    """
    ids = ("slide_id", "patient_id") if unit == "slide" else ("patient_id",)
    table = Table(path, (*ids, *columns))
    found: dict[str, Labelled] = {}
    lines: dict[str, int] = {}
    for line, row in table.rows():
        known = {name: table.id(line, row, name) for name in ids}
        labels = {name: _label(table, line, row, name, classes) for name in columns}
        passed = {*ids, *columns, *(OF_SLIDES if unit == "slide" else ("n_slides",))}
        extra = {name: cell for name, cell in row.items() if name not in passed}
        name = known[ids[0]]
        first = lines.setdefault(name, line)
        if first != line:
            table.wrong(line, f"{ids[0]} is {name}, as in line {first}; each {unit} is one row.")
        found.setdefault(
            name, Labelled(known["patient_id"], known.get("slide_id", ""), labels, extra)
        )
    table.raise_if_wrong()
    return list(found.values())


def _label(
    table: Table, line: int, row: dict[str, str], column: str, classes: Sequence[str]
) -> str:
    """Return a cell as the class it names, or as a number; empty where it is missing."""
    cell = row[column]
    if cell in classes:  # a class may be called none
        return cell
    if cell.casefold() in MISSING:
        return ""
    if not classes:
        number = table.number(line, row, column)
        return "" if number is None else f"{number:.9g}"
    whole = _whole_number(cell)
    if whole in classes:  # 1.0, as spreadsheets with empty cells have it
        return whole
    table.wrong(
        line,
        f"{column} is {cell}; it must be one of {', '.join(classes)} (label.classes), or empty"
        f"{did_you_mean(cell, classes) or '.'}",
    )
    return ""


def _whole_number(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return str(int(number)) if math.isfinite(number) and number.is_integer() else cell
