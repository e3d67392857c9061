"""CLAM's process list: one row of parameters a slide, written, edited by hand and read back.

Specification wsi 3.1. Cells are read as text: a column of piece numbers such as ``3`` stays what
the person typed.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from wsi.clam.grid import RULES
from wsi.clam.segmentation import PRESETS, ClamParameters, parameters_of
from wsi.storage import atomic

COLUMNS = (
    *("slide_id", "process", "status", "seg_level", "sthresh", "mthresh", "close", "use_otsu"),
    *("keep_ids", "exclude_ids", "a_t", "a_h", "max_n_holes", "vis_level", "line_thickness"),
    *("use_padding", "contour_fn"),
)
MISSING = {"", "na", "nan"}


class ProcessListError(ValueError):
    """A process list cannot be used; the message has one sentence a line."""

    is_sentence = True


@dataclass(frozen=True)
class ProcessRow:
    """One slide of a process list.

    Parameters
    ----------
    slide_id : file name of the slide, extension included.
    parameters : how its tissue is found.
    process : whether it is to be done.
    status : ``tbp`` (to be processed), ``processed``, ``already_exist`` or ``failed_seg``.
    vis_level, line_thickness : of CLAM's picture of the mask; thickness in level-0 pixels.
    use_padding, contour_fn : `padding` and `rule` of :func:`wsi.clam.grid.contour_grid`.
    """

    slide_id: str
    parameters: ClamParameters = field(default_factory=ClamParameters)
    process: bool = True
    status: str = "tbp"
    vis_level: int = -1
    line_thickness: int = 250
    use_padding: bool = True
    contour_fn: str = "four_pt"


def write_process_list(path: str | Path, rows: Iterable[ProcessRow]) -> None:
    """Write ``process_list_autogen.csv`` as CLAM does.

    `seg_level` and `vis_level` appear as they are given: put in the level chosen once it is known.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        cells = vars(row.parameters) | vars(row) | {"process": int(row.process)}
        cells |= {name: float(cells[name]) for name in ("a_t", "a_h")}  # 16 appears as 16.0
        for name in ("keep_ids", "exclude_ids"):
            cells[name] = ",".join(map(str, cells[name])) or "none"
        table.writerow([cells[name] for name in COLUMNS])
    with atomic(path) as partial:
        partial.write_text(text.getvalue())


def read_process_list(
    path: str | Path, defaults: ClamParameters = PRESETS["clam"]
) -> dict[str, ProcessRow]:
    """Read a process list that a person may have edited.

    Parameters
    ----------
    path : CSV with ``slide_id`` and any of CLAM's other columns. An empty cell and a column that
        is not there take the default; further columns are not looked at.
    defaults : parameters where the table has none.

    Returns
    -------
    The rows with ``process`` 1 by ``slide_id``, in the order of the file.

    Raises
    ------
    ProcessListError : with a sentence for each thing wrong in these rows.
    """
    rows: dict[str, ProcessRow] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for line, cells in _cells(path, problems):
        slide_id = cells["slide_id"]
        where = f"{path}, line {line}"
        if not slide_id:
            problems.append(f"{where}: slide_id is empty; it must be the slide's file name.")
            continue
        first = lines.setdefault(slide_id, line)
        if first != line:
            problems.append(
                f"{where}: slide_id is {slide_id}, as in line {first}; each slide is one row."
            )
        values = _values(where, cells, problems)
        if values.get("process", True):
            rows.setdefault(slide_id, _row(slide_id, values, defaults))
    if problems:
        raise ProcessListError("\n".join(problems))
    return rows


def _values(where: str, cells: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    """Return what the row's cells say; those that are empty are left out."""
    values: dict[str, object] = {}
    for name, (parse, may_be) in PARSERS.items():
        text = cells.get(name, "")
        if text.casefold() in MISSING:
            continue
        try:
            values[name] = parse(text)
        except ValueError:
            problems.append(
                f"{where}: {name} is {text} for slide {cells['slide_id']}; it must be {may_be}, or "
                "empty for the default."
            )
        if values.get("process") is False:  # what else the row says does not matter
            break
    return values


def _row(slide_id: str, values: Mapping[str, object], defaults: ClamParameters) -> ProcessRow:
    ours = {name: value for name, value in values.items() if hasattr(defaults, name)}
    rest = {name: value for name, value in values.items() if name not in ours}
    return ProcessRow(slide_id, replace(defaults, **ours), **rest)


def _cells(path: str | Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line in the file and the cells by column."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ProcessListError(f"{path}: there is no such process list; mend its path.") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise ProcessListError(f"{path}: not a CSV file in UTF-8; save it as one.") from None
    header_text = text.partition("\n")[0]
    separator = max(",;\t", key=header_text.count)  # a tie is the comma's
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = [name.strip() for name in next(reader, [])]
    if "slide_id" not in header:
        near = get_close_matches("slide_id", header, n=1)
        mend = f"; did you mean {near[0]}?" if near else "; add it, with the slides' file names."
        raise ProcessListError(f"{path}, line 1: no column slide_id{mend}")
    for name in sorted({name for name in header if name in COLUMNS and header.count(name) > 1}):
        raise ProcessListError(f"{path}, line 1: column {name} is there twice; keep one.")
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if len(cells) == len(header):
            yield reader.line_num, dict(zip(header, cells, strict=True))
        else:
            problems.append(
                f"{path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns; "
                'several piece numbers must be in quotes ("0,2"), a missing value is an empty cell.'
            )


def _whole(least: float, most: float = math.inf, odd: bool = False) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = float(text)  # spreadsheets turn 8 into 8.0
        if not number.is_integer() or not least <= number <= most or (odd and number % 2 == 0):
            raise ValueError
        return int(number)

    return parse


def _area(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError
    return number


def _flag(text: str) -> bool:
    answers = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    if text.casefold() not in answers:
        raise ValueError
    return answers[text.casefold()]


def _numbers(text: str) -> tuple[int, ...]:
    if text.casefold() == "none":
        return ()
    return tuple(_whole(0)(number) for number in re.split(r"[,;\s]+", text.strip(",; ")))


def _rule(text: str) -> str:
    if text not in RULES:
        raise ValueError
    return text


_level = _whole(-1), "a level of the slide, or -1 to choose it"
_pieces = _numbers, "the numbers of pieces, from 0 (0,2), or none"
PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "process": (_flag, "1 (to be done) or 0"),
    "status": (str, "text"),
    "seg_level": _level,
    "sthresh": (_whole(0, 255), "a whole number from 0 to 255"),
    "mthresh": (_whole(1, odd=True), "an odd whole number"),
    "close": (_whole(0), "a whole number of at least 0"),
    "use_otsu": (_flag, "True or False"),
    "keep_ids": _pieces,
    "exclude_ids": _pieces,
    "a_t": (_area, "an area of at least 0 (in squares of 512 x 512 level-0 pixels)"),
    "a_h": (_area, "an area of at least 0 (in squares of 512 x 512 level-0 pixels)"),
    "max_n_holes": (_whole(0), "a whole number of at least 0"),
    "vis_level": _level,
    "line_thickness": (_whole(1), "a whole number of at least 1"),
    "use_padding": (_flag, "True or False"),
    "contour_fn": (_rule, f"one of {', '.join(RULES)}"),
}


def overrides(
    path: str | Path, settings: Mapping[str, object]
) -> dict[str, tuple[dict[str, object], dict[str, object]]]:
    """Return what the rows of a process list say, as plain settings by file name.

    Parameters
    ----------
    path : see :func:`read_process_list`.
    settings : preset and parameters of all slides; empty cells take theirs.

    Returns
    -------
    For each slide the parameters of its segmentation, and how its patches are laid (``rule`` and
    ``padding``).

    Raises
    ------
    ProcessListError : see :func:`read_process_list`.
    """
    return {
        name: (
            {k: list(v) if isinstance(v, tuple) else v for k, v in vars(row.parameters).items()},
            {"rule": row.contour_fn, "padding": row.use_padding},
        )
        for name, row in read_process_list(path, parameters_of(settings)).items()
    }
