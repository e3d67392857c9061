"""TRIDENT's features: ``features_<encoder>/<stem>.h5`` with ``features`` and ``coords``.

Specification wsi 3.4. Attributes of ``coords`` say what a patch covers.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from wsi.layouts.rows import (
    ImportedRows,
    check_same_length,
    checked_coordinates,
    checked_features,
    read_datasets,
    shown,
    text,
)
from wsi.layouts.slide_features import SlideFeatures
from wsi.storage import atomic

WHERE = "*.h5 in it, or in features_<features.encoder> in it"


def list_files(folder: Path, encoder: str) -> dict[str, dict[str, str]]:
    """Return ``{stem: {h5: path}}``."""
    inner = folder / f"features_{encoder}"
    within = inner if inner.is_dir() else folder
    return {path.stem: {"h5": str(path)} for path in sorted(within.glob("*.h5"))}


def read(files: Mapping[str, str]) -> ImportedRows:
    """Read the features of one slide; see :class:`wsi.layouts.rows.ImportedRows`."""
    path = files["h5"]
    (rows, corners), attributes = read_datasets(path, ("features",), ("coords",))
    features = checked_features(rows, shown(path))
    places = checked_coordinates(path, corners, attributes)
    check_same_length(features, places.coords, shown(path), "its coords")
    made_by = text(attributes, "encoder", "extractor", "model")
    return ImportedRows.at(features, places, shown(path), extractor=made_by)


def write(folder: Path, name: str, slide: SlideFeatures) -> None:
    """Write the file of one slide into ``features_<encoder>``."""
    known = {
        "patch_size": slide.patch_size,
        "patch_size_level0": round(slide.footprint0),
        "level0_magnification": 10 / slide.mpp0 if slide.mpp0 else None,
        "level0_width": slide.size0[0] if slide.size0 else None,
        "level0_height": slide.size0[1] if slide.size0 else None,
        "footprint0": slide.footprint0,
        "mpp0": slide.mpp0,
        "overlap": 0,
        "name": name,
        "savetodir": folder.name,
    }
    path = folder / f"features_{slide.encoder}/{name}.h5"
    with atomic(path) as partial, h5py.File(partial, "w") as file:
        file.create_dataset("features", data=slide.features)
        coords = file.create_dataset("coords", data=slide.coords.astype(np.int64))
        for attribute, value in known.items():
            if value is not None:
                coords.attrs[attribute] = value
