"""Scores of the instances of any bag, drawn from coordinates, on a slide or a canvas."""

from pathlib import Path

import numpy as np

from mil.annotations import read_outlines
from mil.heatmap_picture import SIDE, Panel, draw_panels
from mil.problems import InputError
from mil.score_maps import (
    attention_map,
    contribution_map,
    label_map,
    probability_map,
    uncertainty_map,
)


def draw_scores(
    path: str | Path,
    coords: np.ndarray,
    footprint: float,
    *,
    attention: np.ndarray | None = None,
    contribution: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
    probability: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    annotations: str | Path | None = None,
    towards: str = "risk",
    thumbnail: str | Path | None = None,
    extent: tuple[float, float] | None = None,
    mpp: float | None = None,
    title: str = "",
    caption: str = "",
    side: int = SIDE,
) -> None:
    """Draw scores of the instances of one slide side by side, as a JPEG.

    Parameters
    ----------
    path : JPEG to write.
    coords : ``[N, 2]`` top-left corners x, y of the instances, level-0 pixels or any other unit.
    footprint : side of an instance in that unit.
    attention : ``[N]``, coloured by percentile within the slide.
    contribution : ``[N]``, coloured around 0, see ``mil.contributions``.
    uncertainty : ``[N]``, e.g. ``Embedding.spread()`` of random attention divided by the attention.
    probability : ``[N]``, 0-1, of ``towards`` for an instance by itself.
    labels : ``[N]``, 1, 0, or -1 for unknown.
    reference : ``[M]`` scores of other slides, among which the percentile of the attention is
        taken; for what is comparable between slides, as raw scores are.
    annotations : GeoJSON of outlines to draw on it, in the unit of the coordinates.
    towards : what the contributions are to, ``risk`` or the name of a class.
    thumbnail : picture of the whole slide, to lie under the scores; it begins at 0, 0. Without one
        they are drawn on a canvas.
    extent : width and height of what the thumbnail shows, in the unit of the coordinates.
    mpp : um in one unit of the coordinates, for a scale bar.
    title, caption : what stands above.
    side : of the longer side of a map in pixels; it bounds the memory, whatever the slide's size.

    Raises
    ------
    mil.problems.InputError : no score, one of another length than the coordinates, a thumbnail
        without its extent.
    """
    coords = np.asarray(coords, dtype=np.float64)
    given = {
        "attention": attention,
        "contribution": contribution,
        "uncertainty": uncertainty,
        "probability": probability,
        "labels": labels,
    }
    given = {name: np.asarray(value) for name, value in given.items() if value is not None}
    _check(given, coords, thumbnail, extent)
    colour = {
        "attention": lambda value: attention_map(value, reference=reference),
        "contribution": lambda value: contribution_map(value, towards),
        "uncertainty": uncertainty_map,
        "probability": lambda value: probability_map(value, towards),
        "labels": label_map,
    }
    rings = () if annotations is None else read_outlines(annotations)
    if thumbnail is None:
        corner = coords.min(axis=0)
        rings = tuple(ring - corner for ring in rings)
        coords, extent = coords - corner, tuple(coords.max(axis=0) - corner + footprint)
    panel = Panel(
        thumbnail=None if thumbnail is None else Path(thumbnail),
        tissue=None,
        coords=coords,
        footprint=footprint,
        extent=extent,
        mpp=mpp,
        maps=tuple(colour[name](value) for name, value in given.items()),
        caption=caption,
        annotations=rings,
    )
    draw_panels(title, [panel], path, side)


def _check(
    given: dict[str, np.ndarray],
    coords: np.ndarray,
    thumbnail: str | Path | None,
    extent: tuple[float, float] | None,
) -> None:
    if not given:
        raise InputError(["draw_scores: nothing to draw; give attention, contribution or labels."])
    problems = [
        f"draw_scores: {name} has the shape {value.shape}; {len(coords)} coordinates need "
        f"({len(coords)},). Of several outputs draw one, {name}[:, k]."
        for name, value in given.items()
        if value.shape != (len(coords),)
    ]
    if thumbnail is not None and extent is None:
        problems.append(
            "draw_scores: a thumbnail without extent; give the width and height of what it shows, "
            "in the unit of the coordinates."
        )
    if problems:
        raise InputError(problems)
