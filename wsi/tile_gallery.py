"""The tiles of a slide that score highest and lowest, cut from it for people to look at."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsi.jpeg import write_jpeg
from wsi.reader import Slide

log = logging.getLogger(__name__)

SIDE, GAP, LINE, QUALITY = 192, 8, 22, 88  # pixels
FONT, SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


@dataclass(frozen=True)
class Squares:
    """Places and one measurement of patches.

    Shapes
    ------
    low, high [N, 2]: corners x, y in level-0 pixels from the corner of what was scanned. value [N].
    """

    low: np.ndarray
    high: np.ndarray
    value: np.ndarray


def draw_tiles(
    *, slide: str, scores: str, gallery: str, by: str | None = None, tiles: int = 10
) -> None:
    """Draw the tiles with the highest and those with the lowest score, a row each, as a JPEG.

    Parameters
    ----------
    slide : the slide's file.
    scores : GeoJSON of its patches that ``python -m mil export_scores`` wrote.
    gallery : JPEG to write.
    by : measurement; None for the last in the file, which is the contribution where there is one.
    tiles : in each row, at most.

    Raises
    ------
    ValueError : no patch, or none with that measurement.
    wsi.outcome.SlideError : the slide cannot be opened.
    """
    squares, by = read_squares(scores, by)
    order = np.argsort(-squares.value, kind="stable")
    tiles = min(tiles, len(order))
    with Slide(slide) as opened:
        rows = [
            _row(opened, squares, chosen, f"{which} {by}")
            for which, chosen in (
                ("highest", order[:tiles]),
                ("lowest", order[::-1][:tiles]),
            )
        ]
    write_jpeg(np.concatenate(rows), gallery, QUALITY)
    log.info("%d tiles in %s", 2 * tiles, gallery)


def read_squares(path: str | Path, by: str | None = None) -> tuple[Squares, str]:
    """Return places and measurement `by` of the patches in a GeoJSON file, and its name."""
    features = json.loads(Path(path).read_text())["features"]
    listed = [feature["properties"].get("measurements", {}) for feature in features]
    names = list(listed[0]) if listed else []
    if by is None and names:
        by = names[-1]
    if by not in names:
        raise ValueError(f"{path}: no patch with a measurement {by!r}; there are {names}.")
    rings = np.array([feature["geometry"]["coordinates"][0] for feature in features])  # [N, 5, 2]
    value = np.array([one[by] for one in listed], dtype=np.float64)
    return Squares(rings.min(axis=1), rings.max(axis=1), value), by


def _row(slide: Slide, squares: Squares, chosen: np.ndarray, title: str) -> np.ndarray:
    """Return a strip ``[H, W, 3]`` of tiles, each above its value."""
    width = GAP + len(chosen) * (SIDE + GAP)
    strip = np.full((LINE + SIDE + LINE + GAP, width, 3), 255, np.uint8)
    cv2.putText(strip, title, (GAP, 15), FONT, SIZE, (0, 0, 0), 1, cv2.LINE_AA)
    for number, index in enumerate(chosen):
        x = GAP + number * (SIDE + GAP)
        strip[LINE : LINE + SIDE, x : x + SIDE] = cut_tile(
            slide, squares.low[index], squares.high[index], SIDE
        )
        value = f"{squares.value[index]:.2g}"
        cv2.putText(strip, value, (x, LINE + SIDE + 16), FONT, SIZE, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def cut_tile(slide: Slide, low: np.ndarray, high: np.ndarray, side: int) -> np.ndarray:
    """Return a rectangle of the slide as ``[side, side, 3]`` uint8.

    Parameters
    ----------
    low, high : corners x, y in level-0 pixels from the corner of what was scanned.
    side : pixels of the result; the coarsest level that has as many is read.
    """
    level = slide.best_level(float((high - low).min()) / side)
    ratio = np.array(slide.downsample(level))
    width, height = np.maximum(1, np.rint((high - low) / ratio)).astype(int).tolist()
    x, y = (np.asarray(low) + slide.bounds[:2]).tolist()
    rgb, _ = slide.read(x, y, level, width, height)
    how = cv2.INTER_AREA if width > side else cv2.INTER_CUBIC
    return cv2.resize(rgb, (side, side), interpolation=how)
