"""The two tables a user gives: slides and patients, every mistake named with line and mend.

AdvMIL's single table (``patient_id, pathology_id, t, e``, one row a slide) is read as either.
Read with the csv module: Snakemake reads them at every call, and ids must stay text.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mil.problems import InputError, did_you_mean, listed

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ALIASES = {"pathology_id": "slide_id", "t": "time", "e": "event"}  # AdvMIL's names
MISSING = {"", "na", "n/a", "nan", "none", "null"}
EVENTS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
CENTURY = {"days": 36525, "weeks": 5218, "months": 1200, "years": 100}
MPP = (0.05, 10.0)  # um per pixel of level 0: an electron microscope and a magnifying glass


class TableError(InputError):
    """A table cannot be used; the message has one sentence a line."""


@dataclass(frozen=True, slots=True)
class Slide:
    """One row of the slide table.

    `mpp` is um per pixel of level 0, None to trust the file. `tissue` is a mask or GeoJSON of the
    user's own, `patches` a file of coordinates made elsewhere; None to have them found.
    `annotations` is a mask or GeoJSON of regions that heatmaps show, None for none. `path` is empty
    where features are imported and the table names no file.
    """

    slide_id: str
    patient_id: str
    path: str
    mpp: float | None = None
    tissue: str | None = None
    patches: str | None = None
    annotations: str | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient: follow-up `time`, `event` 1 seen or 0 censored, None where missing.

    `extra` has the table's other columns as text, e.g. site or stratum.
    """

    patient_id: str
    time: float | None
    event: int | None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> str:
        """Why this follow-up cannot be used, or an empty string."""
        if self.time is None:
            return "no follow-up: the time is missing"
        if self.time <= 0:
            return f"follow-up time is {self.time:g}, not above 0"
        if self.event is None:
            return "no follow-up: the event is missing"
        return ""


def read_slides(
    path: str | Path, exclude: Sequence[str] = (), *, need_paths: bool = True
) -> list[Slide]:
    """Read the slide table.

    Parameters
    ----------
    path : CSV with ``slide_id, patient_id, path`` and, if wanted, ``mpp``, ``tissue`` and
        ``patches`` and ``annotations``; other columns pass.
    exclude : ids of slides to leave out; each must be in the table.
    need_paths : False where nobody opens slides any more: ``path`` may then be empty or missing.

    Raises
    ------
    TableError : with a sentence for each thing wrong. Whether slides exist is not looked at, but
        files of columns tissue, patches and annotations must.
    """
    table = Table(path, ("slide_id", "patient_id", *(["path"] if need_paths else [])))
    slides: list[Slide] = []
    lines: dict[str, int] = {}
    for line, row in table.rows():
        slide = Slide(
            table.id(line, row, "slide_id"),
            table.id(line, row, "patient_id"),
            row.get("path", ""),
            table.number(line, row, "mpp") if "mpp" in row else None,
            table.file(line, row, "tissue"),
            table.file(line, row, "patches"),
            table.file(line, row, "annotations", "for none"),
        )
        if need_paths and not slide.path:
            table.wrong(line, f"path is empty for slide {slide.slide_id}; give the slide's file.")
        if slide.mpp is not None and not MPP[0] <= slide.mpp <= MPP[1]:
            table.wrong(
                line,
                f"mpp is {row['mpp']}; it must be um per pixel, {MPP[0]} to {MPP[1]:g} (0.25 at "
                "40x), or empty to take it from the file.",
            )
        first = lines.setdefault(slide.slide_id, line)
        if first != line:
            table.wrong(
                line, f"slide_id is {slide.slide_id}, as in line {first}; each slide is one row."
            )
        slides.append(slide)
    table.problems += [
        f"exclude names slide {name}, not in {table.name}{did_you_mean(name, lines) or '.'}"
        for name in exclude
        if name not in lines
    ]
    table.raise_if_wrong()
    return [slide for slide in slides if slide.slide_id not in set(exclude)]


def read_patients(path: str | Path, unit: str | None = None) -> list[Patient]:
    """Read the patient table, one `Patient` for each id in the order of first appearance.

    Rows without a usable follow-up are kept: see `Patient.unusable`.

    Parameters
    ----------
    path : CSV with ``patient_id, time, event``. A table that also names slides may repeat a
        patient, with the same label.
    unit : unit of the times (``days``, ``weeks``, ``months``, ``years``); given, follow-up of more
        than a century is refused.

    Raises
    ------
    TableError : with a sentence for each thing wrong.
    """
    table = Table(path, ("patient_id", "time", "event"))
    patients: dict[str, Patient] = {}
    lines: dict[str, int] = {}
    longest = max_line = 0
    for line, row in table.rows():
        patient_id = table.id(line, row, "patient_id")
        time = table.number(line, row, "time")
        patient = Patient(patient_id, time, _event(table, line, row), _extra(row))
        first = lines.setdefault(patient_id, line)
        if first == line:
            patients[patient_id] = patient
        elif "slide_id" not in row:
            table.wrong(
                line, f"patient_id is {patient_id}, as in line {first}; each patient is one row."
            )
        elif (known := patients[patient_id]) and (known.time, known.event) != (time, patient.event):
            table.wrong(
                line,
                f"patient {patient_id} has time {row['time']} and event {row['event']}, but time "
                f"{_text(known.time)} and event {_text(known.event)} in line {first}; a patient "
                "has one follow-up.",
            )
        if time is not None and time > longest:
            longest, max_line = time, line
    if unit and longest > CENTURY[unit]:
        table.wrong(
            max_line,
            f"time is {longest:g}, which is over a century in {unit}; set `unit` in the "
            "configuration to the unit of this table.",
        )
    table.raise_if_wrong()
    return list(patients.values())


def missing_slides(slides: Iterable[Slide], max_share: float) -> set[str]:
    """Return the ids of slides whose file does not exist.

    A missing file is the outcome of one slide and stops nothing; too many of them are a mistake in
    the table.

    Parameters
    ----------
    slides : the slide table.
    max_share : share of slides that may be missing (``max_failed_slides``).

    Raises
    ------
    TableError : more are missing; one sentence a slide.
    """
    slides = list(slides)
    missing = [slide for slide in slides if not Path(slide.path).exists()]
    if len(missing) > max_share * len(slides):
        raise TableError(
            f"slide {slide.slide_id}: there is no file {slide.path}; mend its path in the slide "
            "table (relative to the working directory), or name the slide under exclude."
            for slide in missing
        )
    return {slide.slide_id for slide in missing}


def read_rows(path: str | Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read any CSV file with a header as rows of text; see `TableError`."""
    table = Table(path, required)
    rows = [row for _, row in table.rows()]
    table.raise_if_wrong()
    return rows


def _text(value: float | None) -> str:
    return "missing" if value is None else f"{value:g}"


def _event(table: "Table", line: int, row: dict[str, str]) -> int | None:
    value = row["event"]
    if value.casefold() in MISSING:
        return None
    if value not in EVENTS:
        table.wrong(
            line,
            f"event is {value} for patient {row['patient_id']}; it must be 1 (event seen) or 0 "
            "(censored).",
        )
    return EVENTS.get(value)


def _extra(row: dict[str, str]) -> dict[str, str]:
    if "slide_id" in row:  # other columns tell of a slide, not of its patient
        return {}
    known = {"patient_id", "time", "event", "n_slides"}
    return {name: value for name, value in row.items() if name not in known}


class Table:
    """A CSV file being read, with the sentences collected on the way."""

    def __init__(self, path: str | Path, required: Sequence[str]) -> None:
        self.name = str(path)
        self.problems: list[str] = []
        self.header: list[str] = []
        self._lines: list[tuple[int, list[str]]] = []
        self._open(Path(path))
        self._check_header(required)

    def _open(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise TableError([f"{path}: there is no such table; mend its path."]) from None
        except (UnicodeDecodeError, IsADirectoryError):
            raise TableError(
                [f"{path}: this is not a CSV file in UTF-8; save it as one."]
            ) from None
        first = next((line for line in text.splitlines() if line.strip()), "")
        separator = max(",;\t", key=first.count)  # a tie is the comma's
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                self._lines.append((reader.line_num, cells))
        if not self._lines:
            raise TableError([f"{path}: the table is empty; it needs a header and rows."])

    def _check_header(self, required: Sequence[str]) -> None:
        line, names = self._lines.pop(0)
        # A name of ours beside AdvMIL's for the same thing: ours counts, theirs is an extra column.
        self.header = [
            name if ALIASES.get(name, name) in names else ALIASES.get(name, name) for name in names
        ]
        for name in sorted({name for name in self.header if self.header.count(name) > 1}):
            self.wrong(line, f"column {name} is there twice; keep one.")
        spare = [name for name in names if name not in required]
        for name in required:
            if name not in self.header:
                self.wrong(line, f"no column {name}{self._mend(name, names, spare)}")
        self.raise_if_wrong()
        if not self._lines:
            raise TableError([f"{self.name}: the table has a header but no row."])

    def _mend(self, column: str, names: list[str], spare: list[str]) -> str:
        if column == "path" and "pathology_id" in names:
            return "; AdvMIL's table names no files: add a column path with each slide's file."
        return did_you_mean(column, spare) or f"; the columns are {listed(names)}."

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the line in the file and the cells by column."""
        for line, cells in self._lines:
            if len(cells) == len(self.header):
                yield line, dict(zip(self.header, cells, strict=True))
            else:
                self.wrong(
                    line,
                    f"{len(cells)} cells for {len(self.header)} columns; a cell that holds the "
                    "separator must be in quotes, a missing value is an empty cell.",
                )

    def id(self, line: int, row: dict[str, str], column: str) -> str:
        """Return a cell that is an id."""
        value = row[column]
        if not ID.fullmatch(value):
            said = f"{column} is {value}" if value else f"{column} is empty"
            self.wrong(
                line,
                f"{said}; an id has letters, digits, dots, dashes and underscores, and begins with "
                "a letter or a digit.",
            )
        return value

    def file(self, line: int, row: dict[str, str], column: str, otherwise: str = "") -> str | None:
        """Return a cell that names an existing file, None where it is missing.

        `otherwise` says what an empty cell is for; by default that it is found.
        """
        value = row.get(column, "")
        if value.casefold() in MISSING:
            return None
        if not Path(value).is_file():
            self.wrong(
                line,
                f"{column} is {value}; there is no such file (relative to the working directory). "
                f"Mend it, or leave the cell empty {otherwise or f'to have {column} found'}.",
            )
        return value

    def number(self, line: int, row: dict[str, str], column: str) -> float | None:
        """Return a cell that is a finite number, None where it is missing."""
        value = row[column]
        if value.casefold() in MISSING:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            mend = " with a point, not a comma" if "," in value else ""
            self.wrong(line, f"{column} is {value}; it must be a number{mend}, or empty.")
            return None
        return number

    def wrong(self, line: int, sentence: str) -> None:
        """Keep a sentence on what is wrong in a line."""
        self.problems.append(f"{self.name}, line {line}: {sentence}")

    def raise_if_wrong(self) -> None:
        """Raise all sentences so far."""
        if self.problems:
            raise TableError(self.problems)
