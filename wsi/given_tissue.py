"""Tissue that the user outlined: a mask picture, or GeoJSON as QuPath exports it."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from wsi.outcome import SlideError
from wsi.outlines import FOLD, PEN, Pieces, polygons

GEOJSON = (".geojson", ".json")
SAME_SHAPE = 0.02  # by which the aspect of a mask may differ from the slide's
MEND = "mend it, or leave column tissue of slides.csv empty to have tissue found"


def read_given_tissue(
    path: str | Path, dimensions: tuple[int, int], bounds: tuple[int, int, int, int]
) -> Pieces:
    """Return the user's tissue, in level-0 pixels.

    Parameters
    ----------
    path : a picture of any size with the slide's shape, tissue where it is not 0; or GeoJSON with
        polygons that count from the corner of the scanned area (QuPath, and our own files).
        Features of class Pen or Fold, and of classes that QuPath ignores (``Name*``), are passed
        over.
    dimensions : width and height of level 0.
    bounds : x, y, width, height of the scanned area in level-0 pixels.

    Raises
    ------
    SlideError
        Kind ``no_tissue``: the file cannot be used or has nothing on the slide.
    """
    path = Path(path)
    if path.suffix.lower() in GEOJSON:
        pieces = [[ring + np.array(bounds[:2]) for ring in piece] for piece in _polygons_of(path)]
    else:
        pieces = _pieces_of_mask(path, dimensions, bounds)
    if not pieces:
        raise SlideError("no_tissue", f"{path} outlines no tissue; {MEND}.")
    every = np.concatenate([piece[0] for piece in pieces])
    low, high = every.min(axis=0), every.max(axis=0)
    if (high <= 0).any() or (low >= dimensions).any():
        raise SlideError(
            "no_tissue",
            f"{path} outlines tissue from {low.astype(int).tolist()} to "
            f"{high.astype(int).tolist()}, but the slide is {dimensions[0]} x {dimensions[1]} "
            f"pixels: it belongs to another slide or level; {MEND}.",
        )
    return pieces


def _polygons_of(path: Path) -> Pieces:
    try:
        content = json.loads(path.read_text())
        return [
            [_open_ring(ring) for ring in polygon]
            for geometry in _geometries(content)
            for polygon in _rings(geometry)
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SlideError("no_tissue", f"{path} is not valid GeoJSON ({error}); {MEND}.") from error


def _geometries(content: object) -> Iterator[dict]:
    """Yield the geometries of a collection, a list of features, a feature or a bare geometry."""
    if isinstance(content, list):
        for item in content:
            yield from _geometries(item)
    elif content["type"] == "FeatureCollection":
        yield from _geometries(content["features"])
    elif content["type"] == "Feature":
        kind = ((content.get("properties") or {}).get("classification") or {}).get("name") or ""
        if kind not in (PEN, FOLD) and not kind.endswith("*"):
            yield from _geometries(content["geometry"])
    elif content["type"] == "GeometryCollection":
        yield from _geometries(content["geometries"])
    else:
        yield content


def _rings(geometry: dict) -> list:
    if geometry["type"] == "Polygon":
        return [geometry["coordinates"]]
    return geometry["coordinates"] if geometry["type"] == "MultiPolygon" else []


def _open_ring(ring: list) -> np.ndarray:
    points = np.array(ring, np.float64)[:, :2]
    if not np.isfinite(points).all() or len(points) < 4:
        raise ValueError("a ring has fewer than 4 points or no numbers")
    return points[:-1]


def _pieces_of_mask(
    path: Path, dimensions: tuple[int, int], bounds: tuple[int, int, int, int]
) -> Pieces:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise SlideError(
            "no_tissue", f"{path} is no picture and no .geojson that can be read; {MEND}."
        )
    if mask.ndim == 3:
        mask = mask[..., :3].max(axis=2)  # alpha says nothing
    height, width = mask.shape
    for x, y, whole_width, whole_height in (bounds, (0, 0, *dimensions)):
        if abs(width / height * whole_height / whole_width - 1) <= SAME_SHAPE:
            return polygons(mask > 0, (x, y), (whole_width / width, whole_height / height))
    raise SlideError(
        "no_tissue",
        f"the mask {path} is {width} x {height} pixels and the slide {dimensions[0]} x "
        f"{dimensions[1]}: not the same shape; {MEND}.",
    )
