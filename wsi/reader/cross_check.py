"""Levels watch over each other: a tile that contradicts the coarser level is damaged.

Levels of most scanners are means of each other, but not of all: some pick single pixels, or store
levels of other brightness. So only levels are compared whose sampled tiles agree well, and what
counts as a contradiction depends on how well.
"""

from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsi.reader.backend import DamagedError
from wsi.reader.sample import largest_tiles

if TYPE_CHECKING:
    from wsi.reader.tiff_backend import TiffBackend

CELL = 32  # side in pixels of the areas whose means are compared
COARSE_CELL = 4  # least side of such an area in pixels of the coarser level
TOLERANCE = 16  # grey levels by which the means of an area may differ at least
MARGIN = 12  # grey levels by which they may differ more than those of healthy tiles
AGREE = 8  # grey levels; tiles whose areas all differ less show that levels are means
SAMPLE = 8  # tiles of a level that decide whether it is compared
BORDER = 2  # pixels of the coarser level around an area
SHIFTS = sorted(  # of a level to the next one, in pixels of the coarser, the least ones first
    product((-1, -0.5, 0, 0.5, 1), repeat=2), key=lambda shift: np.hypot(*shift)
)
EVERY = 4  # rows that are looked at first: damage in a JPEG hits blocks of 8 or 16 rows


class CrossCheck:
    """Compares tiles with the coarser level.

    Parameters
    ----------
    backend : reads the tiles; its levels are sampled here.
    """

    def __init__(self, backend: "TiffBackend"):
        self._backend = backend
        levels = range(len(backend.level_dimensions) - 1)
        usual = {level: self._usual_difference(level) for level in levels}
        self.tolerance = {
            level: max(TOLERANCE, MARGIN + difference)
            for level, difference in usual.items()
            if difference is not None and difference <= AGREE
        }

    def _usual_difference(self, level: int) -> float | None:
        """Return how much the tiles with most bytes differ from the coarser level at most."""
        differences: list[float] = []
        for column, row in largest_tiles(self._backend, level)[: 4 * SAMPLE]:
            try:
                tile = self._backend.tile(level, column, row)
            except DamagedError:
                continue
            if tile is None:
                continue
            difference = self._difference(level, level + 1, column, row, tile, thorough=True)
            if difference is not None:
                differences.append(difference)
            if len(differences) == SAMPLE:
                break
        # a median, since damaged tiles may be in the sample
        return sorted(differences)[(len(differences) - 1) // 2] if differences else None

    def __call__(self, level: int, column: int, row: int, tile: np.ndarray) -> str:
        """Say how a tile (perhaps decoded smaller) contradicts a coarser level, or nothing."""
        for coarser in range(level + 1, len(self._backend.level_dimensions)):
            if coarser - 1 not in self.tolerance:
                break
            tolerance = max(self.tolerance[between] for between in range(level, coarser))
            difference = self._difference(level, coarser, column, row, tile)
            if difference is None:
                continue  # that level is damaged itself here; the next one may tell
            if difference > tolerance:
                difference = self._difference(level, coarser, column, row, tile, thorough=True)
            if difference > tolerance:
                return f"it decodes, but is {difference:.0f} grey levels off level {coarser}"
            break
        return ""

    def _difference(
        self,
        level: int,
        coarser: int,
        column: int,
        row: int,
        tile: np.ndarray,
        thorough: bool = False,
    ) -> float | None:
        """Return the largest difference of the means of an area; None if nothing can be compared.

        Thoroughly: from all rows, from where exactly an area lies in the coarser level, and against
        the most similar of those up to a pixel around it, as levels of odd sizes may be shifted.
        """
        sizes = [self._backend.level_dimensions[number] for number in (level, coarser)]
        (width, height), (coarse_width, coarse_height) = sizes
        tile_width, tile_height = self._backend.storage_tile(level)
        x, y = column * tile_width, row * tile_height
        reduction = tile_width // tile.shape[1]
        # whole pixels of the tile only: beyond the slide's edge it is filled up
        inside_x = min(tile_width, width - x) // reduction * reduction
        inside_y = min(tile_height, height - y) // reduction * reduction
        cell = max(CELL, COARSE_CELL * width / coarse_width)
        cells = max(1, round(inside_x / cell)), max(1, round(inside_y / cell))
        if min(inside_x, inside_y) < cell / 2:
            return None
        left, right = (e * coarse_width / width for e in (x, x + inside_x))
        top, bottom = (e * coarse_height / height for e in (y, y + inside_y))
        rows = 1 if thorough else max(1, EVERY // reduction)
        mine = _means(tile[: inside_y // reduction : rows, : inside_x // reduction], cells)
        x0, y0, x1, y1 = (round(edge) for edge in (left, top, right, bottom))
        if x1 - x0 < cells[0] or y1 - y0 < cells[1]:
            return None
        if not thorough:
            theirs = self._region(coarser, x0, y0, x1 - x0, y1 - y0)
            return None if theirs is None else cv2.norm(mine, _means(theirs, cells), cv2.NORM_INF)
        around = self._region_and_border(coarser, x0, y0, x1 - x0, y1 - y0)
        if around is None:
            return None
        sums = cv2.integral(around)
        edges_x = np.linspace(left, right, cells[0] + 1) - x0 + BORDER
        edges_y = np.linspace(top, bottom, cells[1] + 1) - y0 + BORDER
        best = np.full(cells[::-1], np.inf)
        for i, j in SHIFTS:
            off = np.abs(mine - _means_between(sums, edges_x + i, edges_y + j)).max(axis=2)
            best = np.minimum(best, off)
            if best.max() <= AGREE / 2:
                break
        return float(best.max())

    def _region(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> np.ndarray | None:
        try:
            region = self._backend.read(level, left, top, width, height)
        except DamagedError:
            return None
        return region if region.shape[2] == 3 else None  # tiles were left out

    def _region_and_border(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> np.ndarray | None:
        """Return a region and a border; where that cannot be read, the nearest pixels."""
        level_width, level_height = self._backend.level_dimensions[level]
        x0, y0 = max(0, left - BORDER), max(0, top - BORDER)
        x1 = min(level_width, left + width + BORDER)
        y1 = min(level_height, top + height + BORDER)
        region = self._region(level, x0, y0, x1 - x0, y1 - y0)
        if region is None:
            x0, y0, x1, y1 = left, top, left + width, top + height
            region = self._region(level, left, top, width, height)
        if region is None:
            return None
        missing = (
            *(y0 - top + BORDER, top + height + BORDER - y1),
            *(x0 - left + BORDER, left + width + BORDER - x1),
        )
        return cv2.copyMakeBorder(region, *missing, cv2.BORDER_REPLICATE)


def _means(pixels: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    return cv2.resize(pixels, cells, interpolation=cv2.INTER_AREA)


def _means_between(sums: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the means of areas between borders that need not be whole pixels.

    Parameters
    ----------
    sums : ``[height + 1, width + 1, 3]``, of all pixels above and left of a corner.
    x, y : borders of columns and rows of areas.
    """
    for axis, places in ((0, y), (1, x)):
        whole = np.floor(places).astype(int)
        part = (places - whole).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        after = np.minimum(whole + 1, sums.shape[axis] - 1)
        sums = sums.take(whole, axis) * (1 - part) + sums.take(after, axis) * part
    areas = np.diff(y)[:, None, None] * np.diff(x)[None, :, None]
    return np.diff(np.diff(sums, axis=0), axis=1) / areas
