"""How much of any square on a slide is tissue, pen or fold."""

import cv2
import numpy as np

from wsi.outlines import Pieces


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
        mask = np.zeros(self.shape, np.uint8)
        shift = 4  # OpenCV's fixed-point bits; pixel centres lie at whole numbers there
        for piece in pieces:  # one by one: tissue in holes counts, and overlaps stay tissue
            rings = [
                np.rint((ring * self.factor - 0.5) * 2**shift).astype(np.int32) for ring in piece
            ]
            cv2.fillPoly(mask, rings, 1, shift=shift)
        self.integral = cv2.integral(mask, sdepth=cv2.CV_64F)

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
        inside = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        return (inside / area).astype(np.float32)
