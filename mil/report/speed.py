"""How fast slides were encoded, and whether reading or the network held the other up."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mil.report.slide_pictures import spread

SHOWN = 10  # slides named, the slowest


def speed_facts(folder: Path, slides: Iterable[str]) -> dict[str, Any] | None:
    """Return what the report says of the encoding of slides.

    Parameters
    ----------
    folder : with a JSON file for each slide, written by the stage that encoded it.
    slides : ids of the usable ones.

    Returns
    -------
    None where no slide has such a file; else ``spreads`` : patches a second, and the share of the
    waiting that was for patches; ``slowest`` : rows of the slides with fewest patches a second;
    ``patches``, ``seconds`` and ``on`` (device, precision and batch, by number of slides).
    """
    paths = [(slide, folder / f"{slide}.json") for slide in slides]
    rows = [_row(slide, json.loads(path.read_text())) for slide, path in paths if path.is_file()]
    if not rows:
        return None
    rows.sort(key=lambda row: row["rate"])
    return {
        "slides": len(rows),
        "patches": sum(row["patches"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
        "on": Counter(row["on"] for row in rows).most_common(),
        "spreads": [
            spread("Patches a second", [row["rate"] for row in rows]),
            spread("Of the waiting, for patches to be read, %", [row["reading"] for row in rows]),
        ],
        "reading_is_slower": sum(row["reading"] > 50 for row in rows),
        "slowest": rows[:SHOWN],
    }


def _row(slide: str, known: dict[str, Any]) -> dict[str, Any]:
    waited = known["waited_for_patches"] + known["waited_for_network"]
    return {
        **known,
        "slide_id": slide,
        "rate": known["patches"] / max(known["seconds"], 1e-9),
        "reading": 100 * known["waited_for_patches"] / max(waited, 1e-9),
        "on": f"{known['device']}, {known['precision']}, batches of {known['batch']}",
    }
