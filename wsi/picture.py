"""Pictures of a slide for people."""

from pathlib import Path

import cv2
import numpy as np

from wsi.storage import atomic

LONG_SIDE = 1024
TISSUE = (0, 158, 115)  # green of Okabe and Ito's palette
HOLE = (0, 114, 178)  # blue


def draw_thumbnail(rgb: np.ndarray, pieces: list[list[np.ndarray]], path: str | Path) -> None:
    """Write a thumbnail with the tissue outlined in green and its holes in blue.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8 overview.
    pieces : outline and holes of each piece, ``[n, 2]`` in pixels of the overview.
    path : JPEG to write, long side 1,024 px.
    """
    factor = LONG_SIDE / max(rgb.shape[:2])
    size = max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(rgb, size, interpolation=how)
    for piece in pieces:
        for i, ring in enumerate(piece):
            points = np.rint(ring * factor).astype(np.int32)
            cv2.polylines(picture, [points], True, HOLE if i else TISSUE, 2, cv2.LINE_AA)
    with atomic(path) as partial:
        cv2.imwrite(
            str(partial), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
        )
