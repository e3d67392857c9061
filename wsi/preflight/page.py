"""The page that people read before a long run."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from wsi.preflight.cohort import notes, verdict
from wsi.preflight.duplicates import find_duplicates
from wsi.preflight.estimates import disk, hours, total_patches
from wsi.preflight.rows import EncoderRow, SlideRow, read_rows
from wsi.storage import atomic

WIDTH = 118
LONGEST = 40  # slides with a line each; of more, alike ones share a line

EACH = ("slide", "status", "format", "Mpx", "um/px", "levels", "read", "mm2", "patches", "Mpx/s")
ALIKE = ("slides", "format", "reader", "um/px", "levels", "read", "GB", "mm2", "patches", "Mpx/s")
WORDS = {"slide", "status", "format", "reader", "levels", "read"}  # aligned to the left
LEGEND = "read: level of the fine patches, and how many of its pixels become one; ~: from a sample"
CUT = {"slide": 24, "format": 8}  # made narrower, down to this, where the table is too wide


def summarise_slides(
    *,
    slides: str,
    speeds: str,
    page: str,
    results: str,
    scale: Mapping[str, object],
    drop: Sequence[str],
    neighbours: int,
    max_failed_slides: float,
    strict: bool,
) -> None:
    """Write what was found out about all slides as one page of text.

    Parameters
    ----------
    slides, speeds : tables of :func:`wsi.preflight.check.check_slides`.
    page : text file to write.
    results : folder that the run will write to; its free room is looked up now.
    scale : how patches are laid, see :func:`wsi.patches.make_patches`.
    drop : flags whose patches the run leaves out.
    neighbours : of a patch in the graphs.
    max_failed_slides, strict : what lets the run stop, as in the configuration.
    """
    rows, encoders = read_rows(slides, SlideRow), read_rows(speeds, EncoderRow)
    failed = [row for row in rows if not row.usable]
    doubtful = [row for row in rows if row.status == "check" and row.reason]
    lines = [
        f"Every slide and every number: {slides}",
        "",
        *_sentences(f"Problems ({len(failed)} slides)", map(_told, failed)),
        *_sentences(f"To look at ({len(doubtful)} slides)", map(_told, doubtful)),
        *_sentences("More than once", (found.sentence for found in find_duplicates(rows))),
        *_sentences("The cohort", notes(rows, scale, drop)),
        *_section(f"{len(rows)} slides", [*_table_of(rows), LEGEND]),
        *_amounts("Room on the disk", disk(rows, encoders, neighbours, results)),
        *_amounts(f"Time for {total_patches(rows):,} patches", hours(rows, encoders)),
        verdict(rows, max_failed_slides, strict),
    ]
    with atomic(page) as partial:
        partial.write_text("\n".join(lines) + "\n")


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}".rstrip() for line in lines), ""] if lines else []


def _sentences(title: str, sentences: Iterable[str]) -> list[str]:
    return _section(title, [line for told in sentences for line in _wrapped(told, indent=4)])


def _amounts(title: str, amounts: Iterable[tuple[str, str]]) -> list[str]:
    said = (f"{amount:>10}  {what}" for amount, what in amounts)
    return _section(title, [line for told in said for line in _wrapped(told, indent=12)])


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH - 2,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _told(row: SlideRow) -> str:
    return f"{row.slide_id} ({row.status}): {row.reason}"


def _table_of(rows: Sequence[SlideRow]) -> list[str]:
    """Return the table: a line for each slide, or for each group of slides that are alike."""
    if len(rows) <= LONGEST:
        return _aligned(EACH, [_cells(row) for row in rows])
    groups: dict[tuple, list[SlideRow]] = {}
    for row in rows:
        if row.usable:
            groups.setdefault((*_kind(row), _read(row)), []).append(row)
    by_size = sorted(groups.values(), key=len, reverse=True)
    return _aligned(ALIKE, [_cells_of_group(group) for group in by_size])


def _kind(row: SlideRow) -> tuple[str, str, str, str]:
    return row.format, row.backend, _number(row.mpp, ".3g"), _some_levels(row.levels)


def _some_levels(levels: str) -> str:
    """Return the downsampling of the levels, of many the first and the last."""
    each = levels.split()
    return levels if len(each) < 5 else f"{each[0]} {each[1]} .. {each[-1]}"


def _read(row: SlideRow) -> str:
    """Return which level fine patches are read from and how many pixels become one."""
    return "" if row.read_level is None else f"{row.read_level}, {row.read_factor:.3g}:1"


def _cells(row: SlideRow) -> list[str]:
    form, _, mpp, levels = _kind(row)
    pixels = row.width * row.height / 1e6 if row.width else None
    about = "~" if row.estimate == "sampled" else ""
    return [
        *(row.slide_id, row.status, form, _number(pixels, ",.0f"), mpp, levels, _read(row)),
        about + _number(row.tissue_mm2, ".1f"),
        about + _number(row.patches, ","),
        _number(row.mpx_per_s, ".1f"),
    ]


def _cells_of_group(group: Sequence[SlideRow]) -> list[str]:
    rates = sorted(row.mpx_per_s for row in group if row.mpx_per_s)
    about = "~" if any(row.estimate == "sampled" for row in group) else ""
    return [
        f"{len(group):,}",
        *_kind(group[0]),
        _read(group[0]),
        f"{sum(row.size_bytes or 0 for row in group) / 1e9:,.1f}",
        f"{about}{sum(row.tissue_mm2 or 0 for row in group):,.0f}",
        f"{about}{total_patches(group):,}",
        _number(rates[len(rates) // 2] if rates else None, ".1f"),
    ]


def _aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines of columns, words to the left and numbers to the right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for column, least in CUT.items():
        if column in header:
            excess = sum(widths) + 2 * len(widths) - WIDTH
            place = header.index(column)
            widths[place] = min(widths[place], max(least, widths[place] - excess))
    return [
        "  ".join(
            _cut(cell, width).ljust(width) if name in WORDS else cell.rjust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        )
        for line in cells
    ]


def _cut(text: str, width: int) -> str:
    """Leave out the middle of a long name: names differ at their ends."""
    tail = (width - 2) // 2
    return text if len(text) <= width else f"{text[: width - 2 - tail]}..{text[-tail:]}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
