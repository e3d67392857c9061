"""One slide: what it shows and what is known of it, whatever its format."""

import logging
from pathlib import Path

import cv2
import numpy as np

from wsi.outcome import SlideError
from wsi.reader.backend import DamagedError
from wsi.reader.opening import open_file
from wsi.reader.tiff_backend import TiffBackend

log = logging.getLogger(__name__)

STRIP = 2**25  # pixels read at a time for an overview; at 11 bytes a pixel while they are copied
LARGEST_OVERVIEW = 2**28  # pixels; more can only come from a damaged header
MISFIT = 0.05  # by which a level's two ratios to level 0 may differ, beside two pixels
LOGGED = 20  # damaged places named in the log, each; all are counted


class Slide:
    """A whole-slide image.

    Parameters
    ----------
    path : file in any format that OpenSlide knows, or a PNG or JPEG.
    direct : whether tiled TIFF may be decoded without OpenSlide; the pixels are the same.

    Attributes
    ----------
    properties : OpenSlide's, by name; empty for a plain picture.
    format : OpenSlide's name of the vendor, ``png`` or ``jpeg``.
    level_dimensions : width and height of each level; ``dimensions`` are those of level 0.
    background : colour of what was not scanned.
    damaged : storage tiles that could not be read, ``(level, column, row)``, and why.
    unreadable_share : share of the last overview that could not be read.

    Raises
    ------
    SlideError
        Kind ``unreadable``: the file is missing, empty, or no slide that can be opened.
    """

    def __init__(self, path: str | Path, direct: bool = True):
        self.path = Path(path)
        opened = open_file(self.path, direct)
        self._backend = opened.backend
        self.properties, self.format = dict(opened.properties), opened.format
        self.level_dimensions = self._backend.level_dimensions
        self._check_levels()
        self.damaged: dict[tuple[int, int, int], str] = {}
        self.unreadable_share = 0.0
        background = self.properties.get("openslide.background-color", "FFFFFF")
        self.background = tuple(int(background[i : i + 2], 16) for i in (0, 2, 4))

    def _check_levels(self) -> None:
        for level in range(1, len(self.level_dimensions)):
            (x, y), size = self.downsample(level), self.level_dimensions[level]
            if abs(x / y - 1) > MISFIT + 2 / min(size) or min(x, y) < 1:
                self.close()
                raise SlideError(
                    "unreadable",
                    f"level {level} of {self.path} is {size[0]} x {size[1]} pixels, which is no "
                    f"reduction of {self.dimensions[0]} x {self.dimensions[1]}: its header is "
                    "damaged; copy the slide again.",
                )

    def close(self) -> None:
        """Close the file."""
        self._backend.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def backend(self) -> str:
        """What reads the pixels: ``tiff``, ``openslide`` or ``picture``."""
        return self._backend.name

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.level_dimensions[0]

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """The scanned rectangle x, y, width, height in level-0 pixels (MIRAX, SCN, BIF)."""
        x, y, w, h = (
            self.properties.get(f"openslide.bounds-{name}")
            for name in ("x", "y", "width", "height")
        )
        if None in (x, y, w, h):
            return 0, 0, *self.dimensions
        return int(x), int(y), int(w), int(h)

    def downsample(self, level: int) -> tuple[float, float]:
        """Return the true ratio of level 0 to a level, for x and y (rarely whole numbers)."""
        (w0, h0), (w, h) = self.level_dimensions[0], self.level_dimensions[level]
        return w0 / w, h0 / h

    def best_level(self, downsample: float) -> int:
        """Return the coarsest level that is not coarser than `downsample` (2 % tolerance)."""
        fits = [
            level
            for level in range(len(self.level_dimensions))
            if max(self.downsample(level)) <= downsample * 1.02
        ]
        return fits[-1] if fits else 0

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of the blocks that a level is stored in."""
        return self._backend.storage_tile(level)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> tuple[np.ndarray, float]:
        """Read a region.

        Parameters
        ----------
        x, y : top-left corner in level-0 pixels; the region begins at the nearest whole pixel of
            the level, ``x / ratio`` with the level's true ratio of each axis.
        level, width, height : level and size in its pixels.

        Returns
        -------
        rgb : ``[height, width, 3]`` uint8; what is transparent or outside the slide is background.
        unreadable : share of the region that could not be read; it was filled from the next coarser
            level that can be, or else with background.
        """
        ratio = self.downsample(level)
        left, top = int(np.floor(x / ratio[0] + 0.5)), int(np.floor(y / ratio[1] + 0.5))
        return self._read(level, left, top, width, height)

    def _read(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> tuple[np.ndarray, float]:
        """Read a region that begins at a pixel of the level; what is outside is background."""
        level_width, level_height = self.level_dimensions[level]
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(level_width, left + width), min(level_height, top + height)
        if x1 <= x0 or y1 <= y0:
            return np.full((height, width, 3), self.background, np.uint8), 0.0
        inside, lost = self._read_inside(level, x0, y0, x1 - x0, y1 - y0)
        if inside.shape[:2] == (height, width):
            return inside, lost
        rgb = np.full((height, width, 3), self.background, np.uint8)
        rgb[y0 - top : y1 - top, x0 - left : x1 - left] = inside
        return rgb, lost * (x1 - x0) * (y1 - y0) / (width * height)

    def _read_inside(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> tuple[np.ndarray, float]:
        try:
            return self._on_background(self._backend.read(level, left, top, width, height)), 0.0
        except DamagedError:
            pass
        try:  # a dropped network disk passes; a damaged tile does not
            self._backend.reopen()
            return self._on_background(self._backend.read(level, left, top, width, height)), 0.0
        except DamagedError as error:
            return self._read_around_damage(level, left, top, width, height, error)

    def _read_around_damage(
        self, level: int, left: int, top: int, width: int, height: int, error: Exception
    ) -> tuple[np.ndarray, float]:
        """Read a region tile by tile, so that a damaged one costs only its own pixels."""
        tile_width, tile_height = self._backend.storage_tile(level)
        columns, rows = _halves(left, width, tile_width), _halves(top, height, tile_height)
        if len(columns) == len(rows) == 1:
            self._note_damage(level, left // tile_width, top // tile_height, error)
            return self._from_coarser(level, left, top, width, height), 1.0
        rgb = np.empty((height, width, 3), np.uint8)
        lost = 0.0
        for y, part_height in rows:
            for x, part_width in columns:
                part, share = self._read_inside(level, x, y, part_width, part_height)
                rgb[y - top : y - top + part_height, x - left : x - left + part_width] = part
                lost += share * part_width * part_height
        return rgb, lost / (width * height)

    def _note_damage(self, level: int, column: int, row: int, error: Exception) -> None:
        if (level, column, row) in self.damaged:
            return
        self.damaged[level, column, row] = str(error)
        if len(self.damaged) <= LOGGED:
            log.warning(
                "%s: level %d, tile in column %d, row %d cannot be read: %s",
                *(self.path.name, level, column, row, error),
            )

    def _from_coarser(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return a stand-in for damaged pixels: a coarser level enlarged, or background."""
        level_width, level_height = self.level_dimensions[level]
        for coarser in range(level + 1, len(self.level_dimensions)):
            other_width, other_height = self.level_dimensions[coarser]
            x, y = other_width / level_width, other_height / level_height
            x0, y0 = int(left * x), int(top * y)
            x1 = min(other_width, max(x0 + 1, round((left + width) * x)))
            y1 = min(other_height, max(y0 + 1, round((top + height) * y)))
            try:
                self._backend.reopen()  # OpenSlide's handle is dead after an error
                rgb = self._on_background(self._backend.read(coarser, x0, y0, x1 - x0, y1 - y0))
            except DamagedError:
                continue
            return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.full((height, width, 3), self.background, np.uint8)

    def _on_background(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[2] == 3:
            return pixels
        rgb = np.ascontiguousarray(pixels[..., :3])
        clear = pixels[..., 3] < 255  # where nothing was scanned
        if clear.any():
            alpha = pixels[clear, 3:] / 255
            rgb[clear] = np.rint(rgb[clear] * alpha + np.array(self.background) * (1 - alpha))
        return rgb

    def overview(self, downsample: float) -> np.ndarray:
        """Return the whole slide reduced by about `downsample`.

        The nearest finer level is read in strips and reduced by area averaging, so that memory
        stays small even where level 0 is the only level. Where a level is much finer than wanted
        and stored as JPEG, its decoder does the first part of the reduction.
        ``unreadable_share`` then says which share of it could not be read.

        Returns
        -------
        ``[round(H0 / downsample), round(W0 / downsample), 3]`` uint8.

        Raises
        ------
        SlideError
            Kind ``unreadable``: the size in the header is absurd.
        """
        w0, h0 = self.dimensions
        out_w, out_h = max(1, round(w0 / downsample)), max(1, round(h0 / downsample))
        if out_w * out_h > LARGEST_OVERVIEW:
            raise SlideError(
                "unreadable",
                f"{self.path} is {w0} x {h0} pixels by its header, which cannot be; copy the "
                "slide again, or correct its mpp.",
            )
        level = self.best_level(downsample)
        reduction = self._reduction(level, downsample)
        width, height = (-(-side // reduction) for side in self.level_dimensions[level])
        result = np.empty((out_h, out_w, 3), np.uint8)
        lost = 0.0
        rows = max(1, round(STRIP / width * out_h / height))
        for top in range(0, out_h, rows):
            bottom = min(out_h, top + rows)
            first, last = round(top * height / out_h), round(bottom * height / out_h)
            strip, share = self._strip(level, first, width, max(1, last - first), reduction)
            result[top:bottom] = cv2.resize(
                strip, (out_w, bottom - top), interpolation=cv2.INTER_AREA
            )
            lost += share * (bottom - top)
        self.unreadable_share = lost / out_h
        return result

    def _reduction(self, level: int, downsample: float) -> int:
        """Return the factor that the decoder of a level may reduce by on the way to an overview."""
        if not isinstance(self._backend, TiffBackend):
            return 1
        left = downsample / max(self.downsample(level))
        fits = [factor for factor in self._backend.reductions(level) if factor <= left]
        return max(fits, default=1)

    def _strip(
        self, level: int, top: int, width: int, height: int, reduction: int
    ) -> tuple[np.ndarray, float]:
        """Read rows of a level over its whole width, `reduction` times smaller."""
        if reduction > 1:
            try:
                strip = self._backend.read_reduced(level, 0, top, width, height, reduction)
                return self._on_background(strip), 0.0
            except DamagedError:
                pass  # tile by tile then, at full size
        full_width, full_height = self.level_dimensions[level]
        first, last = top * reduction, min(full_height, (top + height) * reduction)
        return self._read(level, 0, first, full_width, last - first)


def _halves(start: int, length: int, tile: int) -> list[tuple[int, int]]:
    """Cut a stretch of pixels at the border of storage tiles nearest its middle, if it has one.

    Returns the start and the length of each part.
    """
    borders = np.arange(start // tile + 1, -(-(start + length) // tile)) * tile
    if not len(borders):
        return [(start, length)]
    cut = int(borders[np.abs(borders - start - length / 2).argmin()])
    return [(start, cut - start), (cut, start + length - cut)]
