"""What was found in imported files of features: which slides to look at, and what they hold."""

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class ImportedKind:
    """Files that are alike; `slides` of them with `patches` rows."""

    features: str
    patch: str
    scale: str
    regions: str
    slides: int
    patches: int


def imported_notes(table: pd.DataFrame) -> dict[str, Any]:
    """Return what the report says of imported slides.

    Parameters
    ----------
    table : ``slides.csv`` of the results, all cells text, empty where a file could not be used.

    Returns
    -------
    ``to_look_at`` : slide id and reason of each slide that has one; ``kinds`` : an `ImportedKind`
    for each kind of file, the commonest first.
    """
    usable = table[table["patches"] != ""]
    described = pd.DataFrame(
        {
            "features": usable["width"] + " x " + usable["dtype"],
            "patch": [
                f"{float(row.footprint0):g} level-0 pixels ({row.footprint_source})"
                for row in usable.itertuples()
            ],
            "scale": [
                f"{float(row.mpp0):.3g} µm per pixel ({row.mpp_source})" if row.mpp0 else "not said"
                for row in usable.itertuples()
            ],
            "regions": usable["regions"].map({"True": "yes", "False": "no"}).to_numpy(),
            "patches": usable["patches"].astype(int),
        }
    )
    groups = described.groupby(["features", "patch", "scale", "regions"], sort=True)["patches"]
    kinds = [ImportedKind(*key, len(its), int(its.sum())) for key, its in groups]
    return {
        "to_look_at": [(row.slide_id, row.look) for row in table.itertuples() if row.look],
        "kinds": sorted(kinds, key=lambda kind: -kind.slides),
    }
