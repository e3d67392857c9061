"""Pictures of where imported patches lie: on the slide, or on a plain canvas."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi.outcome import SlideError
from wsi.picture import LONG_SIDE, draw_grid, draw_thumbnail
from wsi.reader import Slide
from wsi.scale import find_mpp

log = logging.getLogger(__name__)

GLASS, COVERED = 245, 205  # grey of the canvas, and of what patches cover on it


@dataclass(frozen=True, eq=False)
class Scan:
    """What the slide's own file gives; nothing of it where the file cannot be opened.

    Parameters
    ----------
    overview : ``[H, W, 3]`` uint8 of `bounds`, or None.
    bounds : x, y, width, height of what was scanned, level-0 pixels.
    size0 : width and height of level 0.
    mpp0, mpp_source : um per level-0 pixel, and where it comes from.
    remark : why the slide is not shown, if it should have been.
    """

    overview: np.ndarray | None = None
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    size0: tuple[int, int] | None = None
    mpp0: float | None = None
    mpp_source: str = ""
    remark: str = ""


def scan_slide(path: str, mpp: float | None) -> Scan:
    """Open the slide for its scale and a picture, if it is there.

    Parameters
    ----------
    path : of the slide; may be empty or lead nowhere, since features are all that is needed.
    mpp : um per level-0 pixel from the slide table, which then counts, or None.
    """
    given = {"mpp0": mpp, "mpp_source": "slides.csv"} if mpp else {}
    if not path or not Path(path).exists():
        log.info("there is no slide %s: patches are drawn without it", path)
        return Scan(**given)
    try:
        with Slide(path) as opened:
            overview = opened.overview(max(opened.bounds[2:]) / LONG_SIDE)
            known = {"bounds": opened.bounds, "size0": opened.dimensions}
            try:
                mpp0, source = find_mpp(opened, mpp)
            except SlideError:
                return Scan(overview, **known, **given)
            return Scan(overview, **known, mpp0=mpp0, mpp_source=source)
    except SlideError as error:
        log.warning("%s", error)
        return Scan(**given, remark=f"Its slide cannot be shown: {error}")


def draw_places(
    overview: np.ndarray | None,
    coords: np.ndarray,
    footprint0: float,
    bounds: Sequence[int],
    thumbnail: str | Path,
    picture: str | Path,
) -> None:
    """Write the thumbnail of a slide, and the same with its patches.

    Parameters
    ----------
    overview : the slide, or None for a canvas that shows what patches cover.
    coords, footprint0 : ``[N, 2]`` corners and side of the patches, level-0 pixels.
    bounds : x, y, width, height of what is drawn, level-0 pixels.
    thumbnail, picture : JPEG to write.
    """
    if overview is None:
        overview = _canvas(coords, footprint0, bounds)
    factor = bounds[2] / overview.shape[1], bounds[3] / overview.shape[0]
    draw_thumbnail(overview, {}, bounds[:2], factor, thumbnail)
    none = np.zeros((0, 2), np.int64)
    draw_grid(thumbnail, coords, none, (footprint0, footprint0), bounds, picture)


def _canvas(coords: np.ndarray, footprint0: float, bounds: Sequence[int]) -> np.ndarray:
    scale = LONG_SIDE / max(bounds[2:])
    width, height = (max(1, round(side * scale)) for side in bounds[2:])
    canvas = np.full((height, width, 3), GLASS, np.uint8)
    low = np.rint((coords - bounds[:2]) * scale).astype(int)
    high = np.maximum(low + 1, np.rint((coords + footprint0 - bounds[:2]) * scale).astype(int))
    for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
        canvas[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = COVERED
    return canvas
