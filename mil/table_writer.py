"""CSV results: written whole, and the same bytes for the same content."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from wsi.storage import atomic


def write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under a header; floats with nine digits, so that they are read back alike."""
    with atomic(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(
            [f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row] for row in rows
        )
