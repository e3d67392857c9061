"""Tissue or regions that the user outlined: a mask picture, or GeoJSON as QuPath exports it."""

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
    pieces = read_pieces(path, dimensions, bounds, "tissue", MEND)
    if not pieces:
        raise SlideError("no_tissue", f"{path} outlines no tissue; {MEND}.")
    return pieces


def read_pieces(
    path: str | Path,
    dimensions: tuple[int, int],
    bounds: tuple[int, int, int, int],
    what: str,
    mend: str,
) -> Pieces:
    """Return what a file outlines, in level-0 pixels, cut at the borders of the slide.

    Parameters
    ----------
    path, dimensions, bounds : as for `read_given_tissue`; a file that outlines nothing is fine.
    what : is outlined, for the sentences.
    mend : what to do about a file that cannot be used.

    Raises
    ------
    SlideError
        Kind ``no_tissue``: the file cannot be used.
    """
    path = Path(path)
    if path.suffix.lower() in GEOJSON:
        shift = np.array(bounds[:2])
        pieces = [[ring + shift for ring in piece] for piece in _polygons_of(path, mend)]
    else:
        pieces = _pieces_of_mask(path, dimensions, bounds, mend)
    if not pieces:
        return []
    every = np.concatenate([piece[0] for piece in pieces])
    low, high = every.min(axis=0), every.max(axis=0)
    if (high <= 0).any() or (low >= dimensions).any():
        raise SlideError(
            "no_tissue",
            f"{path} outlines {what} from {low.astype(int).tolist()} to "
            f"{high.astype(int).tolist()}, but the slide is {dimensions[0]} x {dimensions[1]} "
            f"pixels: it belongs to another slide or level; {mend}.",
        )
    cut = [[_cut(ring, dimensions) for ring in piece] for piece in pieces]
    return [[ring for ring in piece if len(ring)] for piece in cut if len(piece[0])]


def _cut(ring: np.ndarray, dimensions: tuple[int, int]) -> np.ndarray:
    """Return what of a ring lies on the slide (Sutherland and Hodgman, 1974), if need be nothing.

    Outlines drawn over the edge would have patches beside the slide.
    """
    for axis, sign, limit in ((0, 1, 0), (1, 1, 0), (0, -1, dimensions[0]), (1, -1, dimensions[1])):
        end = np.roll(ring, -1, axis=0)
        before, after = (sign * (points[:, axis] - limit) >= 0 for points in (ring, end))
        if before.all():
            continue
        crosses = before != after
        step = np.where(crosses, end[:, axis] - ring[:, axis], 1)
        crossing = ring + ((limit - ring[:, axis]) / step)[:, None] * (end - ring)
        crossing[:, axis] = limit
        ring = np.stack([crossing, end], axis=1)[np.stack([crosses, after], axis=1)]
    return ring


def _polygons_of(path: Path, mend: str) -> Pieces:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return [_piece(polygon) for g in _geometries(content) for polygon in _rings(g)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SlideError("no_tissue", f"{path} is not valid GeoJSON ({error}); {mend}.") from error


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


def _piece(polygon: list) -> list[np.ndarray]:
    if not polygon:
        raise ValueError("a polygon has no ring")
    return [_open_ring(ring) for ring in polygon]


def _open_ring(ring: list) -> np.ndarray:
    points = np.array(ring, np.float64)[:, :2]
    if (points[0] == points[-1]).all():  # closed, as it should be; not everybody does
        points = points[:-1]
    if not np.isfinite(points).all() or len(points) < 3:
        raise ValueError("a ring has fewer than 3 corners or no numbers")
    return points


def _pieces_of_mask(
    path: Path, dimensions: tuple[int, int], bounds: tuple[int, int, int, int], mend: str
) -> Pieces:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise SlideError(
            "no_tissue", f"{path} is no picture and no .geojson that can be read; {mend}."
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
        f"{dimensions[1]}: not the same shape; {mend}.",
    )
