"""Outlines of tissue: GeoJSON in level-0 pixels, as QuPath opens it."""

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from wsi.storage import MADE_BY, Outcome, atomic

MASK_MPP = 8.0  # um per pixel of the mask that outlines come from and go back to


def write_tissue(
    path: str | Path,
    slide_id: str,
    pieces: list[list[np.ndarray]],
    factor: tuple[float, float],
    facts: Mapping[str, object],
) -> None:
    """Write tissue as a FeatureCollection with the slide's outcome and facts beside it.

    Parameters
    ----------
    path : GeoJSON to write.
    slide_id : whose tissue.
    pieces : outline and holes of each piece, ``[n, 2]`` in pixels of the mask.
    factor : level-0 pixels per mask pixel, x and y.
    facts : of the slide, among them ``mpp0``.
    """
    features = []
    for piece in pieces:
        rings = [np.rint(ring * factor).astype(int) for ring in piece]
        closed = [[*ring.tolist(), ring[0].tolist()] for ring in rings]
        area = cv2.contourArea(rings[0].astype(np.float32))
        area -= sum(cv2.contourArea(ring.astype(np.float32)) for ring in rings[1:])
        properties = {
            "objectType": "annotation",
            "classification": {"name": "Tissue", "color": [0, 158, 115]},
            "area_mm2": round(area * (float(facts["mpp0"]) / 1000) ** 2, 4),
        }
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": closed},
                "properties": properties,
            }
        )
    content = {
        "type": "FeatureCollection",
        "features": features,
        "outcome": vars(Outcome(slide_id, "find_tissue")),
        "slide": {**MADE_BY, **facts},
    }
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, sort_keys=True) + "\n")


def read_tissue(path: str | Path) -> tuple[list[list[np.ndarray]], dict[str, object]]:
    """Return the pieces (outline, then holes; level-0 pixels) and the facts of a tissue file."""
    content = json.loads(Path(path).read_text())
    pieces = [
        [np.array(ring, np.float64) for ring in feature["geometry"]["coordinates"]]
        for feature in content["features"]
    ]
    return pieces, content["slide"]
