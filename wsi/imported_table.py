"""The table of imported slides: what each file held, and why a person should look at it."""

import csv
import io
from collections.abc import Sequence

import h5py

from wsi.storage import atomic, read_outcome

FACTS = (
    *("source", "footprint0", "footprint_source", "mpp0", "mpp_source", "regions", "look"),
    "source_sha256",
)
COLUMNS = ("slide_id", "status", "reason", "patches", "width", "dtype", *FACTS)


def list_imported(*, slides: Sequence[str], features: Sequence[str], table: str) -> None:
    """Write a row for each slide.

    Parameters
    ----------
    slides : ids, in the order of the slide table.
    features : what import_features wrote, in the same order.
    table : CSV to write.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for slide, path in zip(slides, features, strict=True):
        writer.writerow({"slide_id": slide, **_found(path)})
    with atomic(table) as partial:
        partial.write_text(text.getvalue())


def _found(path: str) -> dict[str, object]:
    outcome = read_outcome(path)
    row = {"status": outcome.kind or outcome.status, "reason": outcome.reason}
    if not outcome.ok:
        return row
    with h5py.File(path, "r") as file:
        rows, width = file["features"].shape
        row |= {"patches": rows, "width": width, "dtype": str(file["features"].dtype)}
        row |= {name: file.attrs[name] for name in FACTS if name in file.attrs}
    for name in ("footprint0", "mpp0"):
        if name in row:
            row[name] = f"{row[name]:.6g}"
    return row
