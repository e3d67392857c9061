"""Outlines on a slide: GeoJSON that QuPath opens, and polygons of masks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from wsi.storage import MADE_BY, Outcome, atomic

MASK_MPP = 8.0  # um per pixel of the mask that outlines come from and go back to
TISSUE, PEN, FOLD = "Tissue", "Pen", "Fold"
COLOURS = {TISSUE: [0, 158, 115], PEN: [0, 114, 178], FOLD: [213, 94, 0]}  # Okabe and Ito's

Pieces = list[list[np.ndarray]]  # outline, then holes of each piece, [n, 2] in level-0 pixels


def write_outlines(
    path: str | Path, slide_id: str, regions: Mapping[str, Pieces], facts: Mapping[str, object]
) -> None:
    """Write a FeatureCollection with the slide's outcome and facts beside it.

    Viewers count from the corner of what was scanned, which on some formats is not the corner of
    level 0: so do the coordinates in the file. ``facts["bounds"]`` holds the difference.

    Parameters
    ----------
    path : GeoJSON to write.
    slide_id : whose outlines.
    regions : pieces by class (``Tissue``, ``Pen``, ``Fold``), level-0 pixels.
    facts : of the slide, among them ``mpp0`` and ``bounds``.
    """
    mpp, corner = float(facts["mpp0"]), np.array(facts["bounds"][:2])
    content = {
        "type": "FeatureCollection",
        "features": [
            _feature(kind, piece, mpp, corner) for kind in regions for piece in regions[kind]
        ],
        "outcome": vars(Outcome(slide_id, "find_tissue")),
        "slide": {**MADE_BY, **facts},
    }
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, sort_keys=True) + "\n")


def _feature(kind: str, piece: list[np.ndarray], mpp: float, corner: np.ndarray) -> dict:
    rings = [np.rint(ring - corner).astype(int) for ring in piece]
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[*ring.tolist(), ring[0].tolist()] for ring in rings],
        },
        "properties": {
            "objectType": "annotation",
            "classification": {"name": kind, "color": COLOURS[kind]},
            "area_mm2": round(area(piece) * (mpp / 1000) ** 2, 4),
        },
    }


def area(piece: Sequence[np.ndarray]) -> float:
    """Return the area of an outline less its holes, in the square of its unit."""
    outline, *holes = (cv2.contourArea(ring.astype(np.float32)) for ring in piece)
    return outline - sum(holes)


def read_outlines(path: str | Path) -> tuple[dict[str, Pieces], dict[str, object]]:
    """Return the pieces of each class (level-0 pixels) and the facts of an outline file."""
    content = json.loads(Path(path).read_text())
    corner = np.array(content["slide"]["bounds"][:2], np.float64)
    regions: dict[str, Pieces] = {kind: [] for kind in COLOURS}
    for feature in content["features"]:
        rings = [np.array(ring[:-1]) + corner for ring in feature["geometry"]["coordinates"]]
        regions[feature["properties"]["classification"]["name"]].append(rings)
    return regions, content["slide"]


def polygons(mask: np.ndarray, corner: Sequence[float], factor: Sequence[float]) -> Pieces:
    """Return the outline and the holes of each piece of a mask, along the borders of its pixels.

    Parameters
    ----------
    mask : ``[H, W]`` bool.
    corner : where the mask begins, x and y in level-0 pixels.
    factor : level-0 pixels per mask pixel, x and y.
    """
    # pixels at odd places, the lines between them at even ones: OpenCV's contours run through the
    # outermost places that are set, which are those lines
    lines = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    lines[1::2, 1::2] = mask
    lines = cv2.dilate(lines, np.ones((3, 3), np.uint8))
    contours, tree = cv2.findContours(lines, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None:
        return []
    pieces = {
        i: [contours[i]] for i in range(len(contours)) if tree[0][i][3] < 0 and len(contours[i]) > 2
    }
    for i in range(len(contours)):
        if tree[0][i][3] in pieces and len(contours[i]) > 2:
            pieces[tree[0][i][3]].append(contours[i])
    outlines = [[ring[:, 0] / 2 * factor + corner for ring in piece] for piece in pieces.values()]
    return sorted(outlines, key=lambda piece: tuple(piece[0].min(axis=0)))
