"""What was found on the slides: which to look at and why, and what was flagged or dropped."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

FLAGS = {"pen_patches": "pen", "fold_patches": "fold", "blur_patches": "out of focus"}


@dataclass(frozen=True)
class SlideNote:
    """Why a person should look at a slide; `flagged` counts its coarse patches by flag."""

    slide_id: str
    why: str
    flagged: str


def slide_notes(table: pd.DataFrame) -> dict[str, Any]:
    """Return what the report says of the table of slides (``slides.csv``).

    Parameters
    ----------
    table : all cells text, empty where a stage did not get so far.

    Returns
    -------
    ``to_look_at`` : a `SlideNote` for each slide with a reason, with damage or with patches
    dropped; ``flagged`` : coarse patches by flag; ``coarse`` : all of them; ``dropped`` : how many
    were left out; ``scanners`` : how many slides have which format, um/px and source of it.
    """
    laid = table[table["coarse_patches"] != ""]
    return {
        "to_look_at": [
            note for row in table.to_dict("records") if (note := _note(row)) is not None
        ],
        "flagged": {words: int(laid[name].astype(int).sum()) for name, words in FLAGS.items()},
        "coarse": int(laid["coarse_patches"].astype(int).sum()),
        "dropped": int(laid["dropped"].astype(int).sum()),
        "scanners": Counter(
            f"{row.format}, {float(row.mpp):.3g} µm per pixel ({row.mpp_source})"
            for row in table[table["mpp"] != ""].itertuples()
        ).most_common(),
    }


def _note(row: Mapping[str, str]) -> SlideNote | None:
    def count(name: str) -> int:
        return int(row[name] or 0)

    reasons = [row["look"]]
    if count("damaged_tiles"):
        reasons.append(
            f"{row['damaged_tiles']} storage tiles are damaged; {row['unreadable_patches']} coarse "
            "patches have pixels of a coarser level there."
        )
    if count("dropped"):
        reasons.append(f"{row['dropped']} flagged coarse patches were dropped.")
    why = " ".join(filter(None, reasons))
    if not why:
        return None
    flagged = [f"{words} {row[name]}" for name, words in FLAGS.items() if count(name)]
    return SlideNote(row["slide_id"], why, ", ".join(flagged))
