"""How much of any square on a slide is tissue, pen or fold."""

from collections.abc import Callable

import cv2
import numpy as np

from wsi.clam.grid import Lattice, inside, strictly_inside
from wsi.outlines import Pieces

GRAIN = 64  # parts of a mask pixel that outlines are rounded to


class AreaOf:
    """Share of any square that lies in polygons, from one integral image of their mask.

    Parameters
    ----------
    pieces : outline and holes of each piece, level-0 pixels.
    width, height : of the slide, level-0 pixels.
    downsample : level-0 pixels per mask pixel.
    """

    def __init__(self, pieces: Pieces, width: int, height: int, downsample: float):
        self.shape = max(1, round(height / downsample)), max(1, round(width / downsample))
        self.factor = self.shape[1] / width, self.shape[0] / height
        mask = np.zeros(self.shape, bool)
        for outline, *holes in pieces:
            where, piece = self._filled(outline, inside)
            covered = mask[where].copy()  # by another piece, perhaps in a hole of this one
            mask[where] = piece
            for hole in holes:  # kept within its outline's box: it must not cut other pieces
                hole = np.clip(hole, outline.min(axis=0), outline.max(axis=0))
                where_hole, empty = self._filled(hole, strictly_inside)
                mask[where_hole] &= ~empty
            mask[where] |= covered
        self.integral = cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F)

    def _filled(
        self, ring: np.ndarray, test: Callable[[np.ndarray, Lattice], np.ndarray]
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Return rows and columns around a ring, and which pixels have their centre in it.

        (OpenCV's fillPoly would set the pixels on its border, too.)
        """
        ring = np.rint(ring * self.factor * GRAIN).astype(np.int64)
        low = np.clip(ring.min(axis=0) // GRAIN, 0, self.shape[::-1])
        high = np.clip(-(-ring.max(axis=0) // GRAIN), low, self.shape[::-1])
        columns, rows = (high - low).tolist()
        where = slice(low[1], high[1]), slice(low[0], high[0])
        if not columns or not rows:
            return where, np.zeros((rows, columns), bool)
        x, y = (low * GRAIN + GRAIN // 2).tolist()
        return where, test(ring, Lattice(x, y, GRAIN, GRAIN, columns, rows)).T

    def fraction(self, coords: np.ndarray, side: int) -> np.ndarray:
        """Return the share ``[N]`` float32 of squares at `coords` with `side` pixels."""
        (x, y), (height, width) = coords.T, self.shape
        left = np.rint(x * self.factor[0]).astype(int)
        top = np.rint(y * self.factor[1]).astype(int)
        right = np.maximum(left + 1, np.rint((x + side) * self.factor[0]).astype(int))
        bottom = np.maximum(top + 1, np.rint((y + side) * self.factor[1]).astype(int))
        area = (right - left) * (bottom - top)
        left, right = left.clip(0, width), right.clip(0, width)
        top, bottom = top.clip(0, height), bottom.clip(0, height)
        table = self.integral
        within = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        return (within / area).astype(np.float32)
