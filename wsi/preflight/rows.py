"""What is known of a slide and of an encoder before the run, and the tables that hold it."""

import csv
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

from wsi.storage import atomic

Row = TypeVar("Row")
USABLE = ("ok", "check")


@dataclass
class SlideRow:
    """One slide; what could not be found out is None or empty.

    Parameters
    ----------
    slide_id, patient_id, path : of the slide table.
    status : ``ok``, ``check`` (usable; a person should look), or the kind of the problem, as in
        :class:`wsi.outcome.SlideError`, or ``crash``.
    reason : sentences behind a status that is not ``ok``.
    duplicate_of : ids of the slides that are the same scan, separated by blanks.
    format, backend : of the file, and what reads it (:class:`wsi.reader.Slide`).
    size_bytes : of the file, and of the folder beside it that MIRAX has.
    width, height : of level 0 in pixels.
    levels : downsampling of each level, separated by blanks.
    mpp, mpp_source : um per level-0 pixel, and where that is said.
    read_level, read_factor : level that fine patches are read from and how many times each is
        reduced then; 1 is pixel for pixel.
    tissue_mm2, patches : area of the tissue and number of fine patches.
    estimate : how those were found: ``counted`` as the run counts them, or ``sampled``.
    places_tried, places_unreadable : places read as the run reads them, and how many of them have
        parts that cannot be read.
    mpx_per_s : million pixels of `read_level` read a second by one process.
    finding_s, reading_s : seconds of one core to lay the patches and to read them all.
    fingerprint : see :func:`wsi.fingerprint.fingerprint`.
    """

    slide_id: str
    patient_id: str
    path: str
    status: str = "ok"
    reason: str = ""
    duplicate_of: str = ""
    format: str = ""
    backend: str = ""
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    levels: str = ""
    mpp: float | None = None
    mpp_source: str = ""
    read_level: int | None = None
    read_factor: float | None = None
    tissue_mm2: float | None = None
    patches: int | None = None
    estimate: str = ""
    places_tried: int | None = None
    places_unreadable: int | None = None
    mpx_per_s: float | None = None
    finding_s: float | None = None
    reading_s: float | None = None
    fingerprint: str = ""

    @property
    def usable(self) -> bool:
        """Whether the run can use the slide."""
        return self.status in USABLE

    def look(self, sentence: str) -> None:
        """Ask a person to look at a usable slide."""
        self.status = "check"
        self.reason = f"{self.reason} {sentence}".strip()


@dataclass
class EncoderRow:
    """How fast one encoder is on one machine.

    Parameters
    ----------
    encoder, architecture : name in the configuration, and what it is built as.
    width : number of features, D.
    device : ``cpu`` or ``cuda``.
    machine : what was measured, for people.
    patches_per_s : patches encoded a second, by one core or one GPU.
    cores : cores that worked on the check; those of the machine.
    """

    encoder: str
    architecture: str
    width: int
    device: str
    machine: str
    patches_per_s: float
    cores: int


def write_rows(path: str | Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write rows as CSV, a column for each field; None is an empty cell."""
    with atomic(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(kind)])
        writer.writerows(map(astuple, rows))


def read_rows(path: str | Path, kind: type[Row]) -> list[Row]:
    """Return the rows that :func:`write_rows` wrote."""
    text = {field.name for field in fields(kind) if field.type is str}
    with open(path, newline="", encoding="utf-8") as file:
        return [
            kind(**{name: cell if name in text else _number(cell) for name, cell in row.items()})
            for row in csv.DictReader(file)
        ]


def _number(cell: str) -> float | None:
    return json.loads(cell) if cell else None
