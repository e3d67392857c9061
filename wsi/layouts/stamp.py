"""STAMP's features: ``<stem>.h5`` with ``feats`` and ``coords`` in micrometres.

Specification wsi 3.4.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from wsi.layouts.rows import (
    AGAIN,
    ImportedRows,
    check_same_length,
    checked_features,
    positive,
    read_datasets,
    shown,
    text,
)
from wsi.layouts.slide_features import SlideFeatures
from wsi.outcome import SlideError
from wsi.storage import atomic

WHERE = "*.h5 in it"


def list_files(folder: Path, encoder: str) -> dict[str, dict[str, str]]:
    """Return ``{stem: {h5: path}}``."""
    return {path.stem: {"h5": str(path)} for path in sorted(folder.glob("*.h5"))}


def read(files: Mapping[str, str]) -> ImportedRows:
    """Read the features of one slide; see :class:`wsi.layouts.rows.ImportedRows`."""
    path = files["h5"]
    (rows, corners), attributes = read_datasets(path, ("feats", "features"), ("coords",))
    kind = text(attributes, "feat_type")
    if kind and kind != "tile":
        raise SlideError(
            "damaged",
            f"{shown(path)} has features of kind {kind} (feat_type); models here read one vector a "
            "tile: import the folder of tile features.",
        )
    features = checked_features(rows, shown(path))
    coords = _micrometres(path, corners)
    check_same_length(features, coords, shown(path), "its coords")
    side = positive(attributes, "tile_size_um", "tile_size")
    unit = text(attributes, "unit")
    if side is None or unit not in ("", "um"):
        raise SlideError(
            "damaged",
            f"{shown(path)}: unit is {unit or 'not said'} and tile_size_um "
            f"{side or 'not said'}; coords must be in um and the side of a tile known. Give the "
            "file the attributes unit (um) and tile_size_um, or extract the features again.",
        )
    size = positive(attributes, "tile_size_px")
    return ImportedRows(
        features,
        coords,
        side,
        shown(path),
        unit="um",
        patch_size=round(size) if size else None,
        mpp0=positive(attributes, "mpp0"),
        extractor=text(attributes, "extractor"),
    )


def _micrometres(path: str, table: np.ndarray) -> np.ndarray:
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "iuf":
        raise SlideError(
            "damaged",
            f"{shown(path)}: dataset coords is {table.dtype} {list(table.shape)}; it must be "
            f"numbers [tiles, 2], in um; {AGAIN}.",
        )
    wrong = np.flatnonzero(~(np.isfinite(table) & (table >= 0)).all(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise SlideError(
            "damaged",
            f"{shown(path)}: dataset coords, row {row} is {table[row].tolist()}; corners lie in "
            f"the slide, in um from its top-left pixel; {AGAIN}.",
        )
    return table.astype(np.float64)


def write(folder: Path, name: str, slide: SlideFeatures) -> None:
    """Write the file of one slide.

    Raises
    ------
    ValueError : its scale is unknown, so that there are no micrometres.
    """
    if not slide.mpp0:
        raise ValueError(
            f"slide {name} has no known scale, and STAMP's coords are in um; export with layout "
            "clam, trident or pt, or add column mpp to the slide table and run again."
        )
    known = {
        "unit": "um",
        "tile_size_um": slide.footprint0 * slide.mpp0,
        "tile_size_px": slide.patch_size,
        "extractor": slide.encoder,
        "feat_type": "tile",
        "mpp0": slide.mpp0,
    }
    with atomic(folder / f"{name}.h5") as partial, h5py.File(partial, "w") as file:
        file.create_dataset("feats", data=slide.features)
        file.create_dataset("coords", data=slide.coords * slide.mpp0)
        for attribute, value in known.items():
            if value is not None:
                file.attrs[attribute] = value
