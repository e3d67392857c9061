"""One slide: what it shows and what is known of it, whatever its format."""

import logging
from pathlib import Path

import cv2
import numpy as np

from wsi.outcome import SlideError
from wsi.reader.backend import DamagedError
from wsi.reader.opening import open_file

log = logging.getLogger(__name__)

STRIP = 2**25  # pixels read at a time for an overview; at 11 bytes a pixel while they are copied
LARGEST_OVERVIEW = 2**26  # pixels; at 8 um/px twice as many as the largest glass slide
MISFIT = 0.05  # by which a level's two ratios to level 0 may differ, beside two pixels
LOGGED = 20  # damaged places named in the log, each; all are counted


class Slide:
    """A whole-slide image.

    Threads may share one. Only path and `direct` are pickled: another process opens it for itself.

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
        self.path, self._direct = Path(path), direct
        opened = open_file(self.path, direct)
        self._backend = opened.backend
        self.properties, self.format = dict(opened.properties), opened.format
        self.level_dimensions = self._backend.level_dimensions
        if why := self._contradiction():
            self.close()
            raise SlideError(
                "unreadable", f"{self.path} has a damaged header: {why}; copy the slide again."
            )
        self.damaged: dict[tuple[int, int, int], str] = {}
        self.unreadable_share = 0.0
        background = self.properties.get("openslide.background-color", "FFFFFF")
        self.background = tuple(int(background[i : i + 2], 16) for i in (0, 2, 4))

    def __reduce__(self) -> tuple:
        return Slide, (self.path, self._direct)

    def _contradiction(self) -> str:
        """Say what sizes in the header cannot be true, or nothing."""
        for level, size in enumerate(self.level_dimensions):
            if min(size) < 1:
                return f"level {level} is {size[0]} x {size[1]} pixels"
            x, y = self.downsample(level)
            if abs(x / y - 1) > MISFIT + 2 / min(size) or min(x, y) < 1:
                return (
                    f"level {level} is {size[0]} x {size[1]} pixels, which is no reduction of "
                    f"{self.dimensions[0]} x {self.dimensions[1]}"
                )
        return ""

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
        return max(fits, key=lambda level: max(self.downsample(level)), default=0)

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

    def _size(self, level: int, reduction: int) -> tuple[int, int]:
        """Return width and height of a level in pixels `reduction` times larger."""
        width, height = self.level_dimensions[level]
        return -(-width // reduction), -(-height // reduction)

    def _read(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int = 1
    ) -> tuple[np.ndarray, float]:
        """Read a region that begins at a pixel of the level; what is outside is background."""
        level_width, level_height = self._size(level, reduction)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(level_width, left + width), min(level_height, top + height)
        if x1 <= x0 or y1 <= y0:
            return np.full((height, width, 3), self.background, np.uint8), 0.0
        inside, lost = self._read_inside(level, x0, y0, x1 - x0, y1 - y0, reduction)
        if inside.shape[:2] == (height, width):
            return inside, lost
        rgb = np.full((height, width, 3), self.background, np.uint8)
        rgb[y0 - top : y1 - top, x0 - left : x1 - left] = inside
        return rgb, lost * (x1 - x0) * (y1 - y0) / (width * height)

    def _read_inside(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int
    ) -> tuple[np.ndarray, float]:
        """Read a region at once, or tile by tile: a damaged tile costs only its own pixels."""
        if not self._is_known_damaged(level, left, top, width, height, reduction):
            try:
                pixels = self._backend.read(level, left, top, width, height, reduction)
                return self._on_background(pixels), 0.0
            except DamagedError as error:
                failure = error
        tile_width, tile_height = (side // reduction for side in self.storage_tile(level))
        columns, rows = _cut(left, width, tile_width), _cut(top, height, tile_height)
        if (
            len(columns) == len(rows) == 1
            and (level, columns[0][0], rows[0][0]) not in self.damaged
        ):
            self._note_damage(level, columns[0][0], rows[0][0], failure)
        rgb = np.empty((height, width, 3), np.uint8)
        lost = 0
        for row, y, part_height in rows:
            for column, x, part_width in columns:
                where = x, y, part_width, part_height, reduction
                part = self._read_part(level, column, row, *where)
                if part is None:
                    part = self._from_coarser(level, *where)
                    lost += part_width * part_height
                rgb[y - top : y - top + part_height, x - left : x - left + part_width] = part
        return rgb, lost / (width * height)

    def _is_known_damaged(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int
    ) -> bool:
        """Whether a tile of a region is damaged, as far as is known."""
        if not self.damaged:
            return False
        tile_width, tile_height = (side // reduction for side in self.storage_tile(level))
        return any(
            (level, column, row) in self.damaged
            for row, _, _ in _cut(top, height, tile_height)
            for column, _, _ in _cut(left, width, tile_width)
        )

    def _read_part(self, level: int, column: int, row: int, *where: int) -> np.ndarray | None:
        """Return a part of one storage tile, or None if it is damaged."""
        if (level, column, row) in self.damaged:
            return None
        try:
            return self._on_background(self._backend.read(level, *where))
        except DamagedError as error:
            self._note_damage(level, column, row, error)
            return None

    def _note_damage(self, level: int, column: int, row: int, error: Exception) -> None:
        self.damaged[level, column, row] = str(error)
        if len(self.damaged) <= LOGGED:
            log.warning(
                "%s: level %d, tile in column %d, row %d cannot be read: %s",
                *(self.path.name, level, column, row, error),
            )

    def _from_coarser(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int
    ) -> np.ndarray:
        """Return a stand-in for damaged pixels: a coarser level enlarged, or background."""
        level_width, level_height = self._size(level, reduction)
        for coarser in range(level + 1, len(self.level_dimensions)):
            other_width, other_height = self.level_dimensions[coarser]
            x, y = other_width / level_width, other_height / level_height
            x0, y0 = min(int(left * x), other_width - 1), min(int(top * y), other_height - 1)
            x1 = min(other_width, max(x0 + 1, round((left + width) * x)))
            y1 = min(other_height, max(y0 + 1, round((top + height) * y)))
            try:
                pixels = self._backend.read(coarser, x0, y0, x1 - x0, y1 - y0)
            except DamagedError:
                continue
            rgb = self._on_background(pixels)
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
        """Return what was scanned, reduced by about `downsample`.

        The nearest finer level is read in strips and reduced by area averaging, so that memory
        stays small even where level 0 is the only level. Where a level is much finer than wanted
        and stored as JPEG, its decoder does the first part of the reduction.
        ``unreadable_share`` then says which share of it could not be read.

        Returns
        -------
        ``[round(H / downsample), round(W / downsample), 3]`` uint8, W and H those of ``bounds``.

        Raises
        ------
        SlideError
            Kind ``unreadable``: the size in the header is absurd.
        """
        x, y, w, h = self.bounds
        out_w, out_h = max(1, round(w / downsample)), max(1, round(h / downsample))
        if out_w * out_h > LARGEST_OVERVIEW:
            raise SlideError(
                "unreadable",
                f"{self.path} is {w} x {h} pixels by its header, larger than any glass slide "
                "at this scale; copy the slide again, or correct its mpp.",
            )
        level = self.best_level(downsample)
        reduction = self._reduction(level, downsample)
        ratio = [factor * reduction for factor in self.downsample(level)]
        # sizes that fit exactly do so but for the last digit of a float
        left, width = round(x / ratio[0]), max(1, int(np.ceil(w / ratio[0] - 1e-6)))
        start, height = round(y / ratio[1]), max(1, int(np.ceil(h / ratio[1] - 1e-6)))
        result = np.empty((out_h, out_w, 3), np.uint8)
        lost = 0.0
        rows = max(1, round(STRIP / width * out_h / height))
        for top in range(0, out_h, rows):
            bottom = min(out_h, top + rows)
            first, last = round(top * height / out_h), round(bottom * height / out_h)
            place = level, left, start + first, width, max(1, last - first)
            strip, share = self._read(*place, reduction)
            result[top:bottom] = cv2.resize(
                strip, (out_w, bottom - top), interpolation=cv2.INTER_AREA
            )
            lost += share * (bottom - top)
        self.unreadable_share = lost / out_h
        return result

    def _reduction(self, level: int, downsample: float) -> int:
        """Return the factor that the decoder of a level may reduce by on the way to an overview."""
        left = downsample / max(self.downsample(level))
        return max((f for f in self._backend.reductions(level) if f <= left), default=1)


def _cut(start: int, length: int, tile: int) -> list[tuple[int, int, int]]:
    """Cut a stretch of pixels at the borders of storage tiles.

    Returns for each part the number of its tile, its start and its length.
    """
    end = start + length
    return [
        (
            number,
            max(start, number * tile),
            min(end, (number + 1) * tile) - max(start, number * tile),
        )
        for number in range(start // tile, (end - 1) // tile + 1)
    ]
