"""Pictures of a slide for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from wsi.jpeg import write_jpeg
from wsi.outlines import COLOURS, Pieces

LONG_SIDE = 1024
HOLE = (86, 180, 233)  # light blue
GRID = (0, 62, 122)  # dark blue, apart from tissue's pinks and the green outline
DROPPED = (213, 94, 0)
SMALL = 24  # pixels: a wide line would cover what it goes around
QUALITY = 85


def draw_thumbnail(
    rgb: np.ndarray,
    regions: Mapping[str, Pieces],
    corner: Sequence[float],
    factor: Sequence[float],
    path: str | Path,
) -> None:
    """Write a thumbnail with tissue, pen and folds outlined, each in its colour, holes in blue.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8 overview of what was scanned.
    regions : pieces by class, level-0 pixels.
    corner : of what was scanned, level-0 pixels.
    factor : level-0 pixels per pixel of the overview, x and y.
    path : JPEG to write, long side 1,024 px.
    """
    scale = LONG_SIDE / max(rgb.shape[:2])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(rgb, size, interpolation=how)
    for kind, pieces in regions.items():
        for piece in pieces:
            for i, ring in enumerate(piece):
                points = np.rint((ring - corner) / factor * scale).astype(np.int32)
                colour = HOLE if i else COLOURS[kind]
                width = 1 if np.ptp(points, axis=0).max() < SMALL else 2
                cv2.polylines(picture, [points], True, colour, width, cv2.LINE_AA)
    write_jpeg(picture, path, QUALITY)


def draw_grid(
    thumbnail: str | Path,
    coords: np.ndarray,
    dropped: np.ndarray,
    footprint: tuple[float, float],
    bounds: Sequence[int],
    path: str | Path,
) -> None:
    """Write the thumbnail with the coarse patches on it; dropped ones are crossed out.

    Parameters
    ----------
    thumbnail : written by :func:`draw_thumbnail`; the slide is not read again.
    coords, dropped : ``[N, 2]`` and ``[M, 2]`` corners, level-0 pixels.
    footprint : width and height of a patch, level-0 pixels.
    bounds : x, y, width, height of what was scanned, level-0 pixels.
    path : JPEG to write.
    """
    picture = cv2.cvtColor(cv2.imread(str(thumbnail), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    scale = np.array([width / bounds[2], height / bounds[3]])
    for corners, colour in ((coords, GRID), (dropped, DROPPED)):
        low = np.rint((corners - bounds[:2]) * scale).astype(int)
        high = np.rint((corners + np.array(footprint) - bounds[:2]) * scale).astype(int)
        for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True):
            cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 1)
            if colour is DROPPED:
                cv2.line(picture, (x0, y0), (x1, y1), colour, 1, cv2.LINE_AA)
                cv2.line(picture, (x0, y1), (x1, y0), colour, 1, cv2.LINE_AA)
    write_jpeg(picture, path, QUALITY)
