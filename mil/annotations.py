"""Outlines that somebody drew on a slide, as QuPath and other viewers export them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mil.problems import InputError


def read_outlines(path: str | Path) -> tuple[np.ndarray, ...]:
    """Return the rings of all polygons of a GeoJSON file, ``[K, 2]`` x, y each, holes among them.

    Raises
    ------
    mil.problems.InputError : no GeoJSON, or no polygon in it.
    """
    try:
        content = json.loads(Path(path).read_text())
        rings = tuple(np.array(ring, dtype=np.float64)[:, :2] for ring in _rings(content))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError([f"{path}: is no GeoJSON of polygons ({error})."]) from error
    if not rings:
        raise InputError([f"{path}: no polygon in it. Export annotations with an area."])
    return rings


def _rings(content: Any) -> Iterator[Any]:
    """Yield the rings of a collection, a list of features, a feature or a bare geometry."""
    if isinstance(content, list) or "features" in content:
        for one in content if isinstance(content, list) else content["features"]:
            yield from _rings(one)
    elif "geometry" in content:
        yield from _rings(content["geometry"])
    elif content["type"] == "Polygon":
        yield from content["coordinates"]
    elif content["type"] == "MultiPolygon":
        for polygon in content["coordinates"]:
            yield from polygon
