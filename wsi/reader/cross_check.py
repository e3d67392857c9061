"""Levels watch over each other: a tile that contradicts the coarser level is damaged.

Levels of most scanners are means of each other, but not of all: some pick single pixels, or store
levels of other brightness. So only levels are compared whose sampled tiles agree well, and what
counts as a contradiction depends on how well.
"""

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

        Thoroughly: from all rows, and each area against the most similar of those a pixel of the
        coarser level around it, as levels of odd sizes are often shifted a little.
        """
        (width, height), (coarse_width, coarse_height) = (
            self._backend.level_dimensions[number] for number in (level, coarser)
        )
        tile_width, tile_height = self._backend.storage_tile(level)
        x, y = column * tile_width, row * tile_height
        inside_x, inside_y = min(tile_width, width - x), min(tile_height, height - y)
        cell = max(CELL, COARSE_CELL * width / coarse_width)
        cells = max(1, round(inside_x / cell)), max(1, round(inside_y / cell))
        if min(inside_x, inside_y) < cell / 2:
            return None
        left, right = (round(e * coarse_width / width) for e in (x, x + inside_x))
        top, bottom = (round(e * coarse_height / height) for e in (y, y + inside_y))
        size = right - left, bottom - top
        if size[0] < cells[0] or size[1] < cells[1]:
            return None
        reduction = tile_width // tile.shape[1]
        rows = 1 if thorough else max(1, EVERY // reduction)
        mine = _means(tile[: inside_y // reduction : rows, : inside_x // reduction], cells)
        if not thorough:
            theirs = self._region(coarser, left, top, *size)
            return None if theirs is None else cv2.norm(mine, _means(theirs, cells), cv2.NORM_INF)
        around = self._region_and_border(coarser, left, top, *size)
        if around is None:
            return None
        differences = [
            cv2.absdiff(mine, _means(around[j : j + size[1], i : i + size[0]], cells)).max(axis=2)
            for j in range(3)
            for i in range(3)
        ]
        return float(np.min(differences, axis=0).max())

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
        """Return a region and a pixel around it; where that cannot be read, the nearest pixels."""
        level_width, level_height = self._backend.level_dimensions[level]
        x0, y0 = max(0, left - 1), max(0, top - 1)
        x1, y1 = min(level_width, left + width + 1), min(level_height, top + height + 1)
        region = self._region(level, x0, y0, x1 - x0, y1 - y0)
        if region is None:
            x0, y0, x1, y1 = left, top, left + width, top + height
            region = self._region(level, left, top, width, height)
        if region is None:
            return None
        border = y0 - top + 1, top + height + 1 - y1, x0 - left + 1, left + width + 1 - x1
        return cv2.copyMakeBorder(region, *border, cv2.BORDER_REPLICATE)


def _means(pixels: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    return cv2.resize(pixels, cells, interpolation=cv2.INTER_AREA)
