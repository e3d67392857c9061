"""Reading pixels: one slide, opened by OpenSlide, that explains itself when it cannot."""

import logging
from pathlib import Path

import cv2
import numpy as np
import openslide

from wsi.outcome import SlideError

log = logging.getLogger(__name__)

STRIP = 2**25  # pixels read at a time for an overview; at 11 bytes a pixel while they are copied
STORAGE_TILE = 256  # side of a storage tile where the file does not tell


class Slide:
    """A whole-slide image.

    Parameters
    ----------
    path : file that OpenSlide can open.

    Raises
    ------
    SlideError
        Kind ``unreadable``: the file is missing, empty, or not a slide that OpenSlide knows.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise SlideError("unreadable", f"{path} does not exist; correct path in slides.csv.")
        with open(self.path, "rb") as file:  # lost permissions and disks are no fault of the slide
            if not file.read(1):
                raise SlideError("unreadable", f"{path} is empty (0 bytes); copy the slide again.")
        self._handle = self._open()
        self.properties = dict(self._handle.properties)
        self.level_dimensions = list(self._handle.level_dimensions)
        self._factors = list(self._handle.level_downsamples)  # OpenSlide's: one for both axes
        self.unreadable_regions = 0
        self.unreadable_share = 0.0
        background = self.properties.get("openslide.background-color", "FFFFFF")
        self.background = tuple(int(background[i : i + 2], 16) for i in (0, 2, 4))

    def _open(self) -> openslide.OpenSlide:
        try:
            return openslide.OpenSlide(str(self.path))
        except openslide.OpenSlideError as error:
            megabytes = self.path.stat().st_size / 1e6
            raise SlideError(
                "unreadable",
                f"OpenSlide cannot open {self.path} ({megabytes:.1f} MB; {error}). Either the "
                "file was cut off while it was copied (compare its size with the original), or "
                "the format is not supported (convert it to a pyramidal TIFF).",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def read(self, x: int, y: int, level: int, width: int, height: int) -> tuple[np.ndarray, float]:
        """Read a region.

        Parameters
        ----------
        x, y : top-left corner in level-0 pixels.
        level, width, height : level and size in its pixels.

        Returns
        -------
        rgb : ``[height, width, 3]`` uint8; what is transparent or outside the slide is background.
        unreadable : share of the region that could not be read and was filled with background.
        """
        for attempt in (1, 2):  # a dropped network disk passes; a damaged tile does not
            try:
                image = self._handle.read_region((int(x), int(y)), level, (width, height))
                return self._on_background(np.asarray(image)), 0.0
            except openslide.OpenSlideError as error:
                # the handle is dead after any error: only a new one can read on
                self._handle.close()
                self._handle = self._open()
                if attempt == 2:
                    return self._read_around_damage(x, y, level, width, height, error)
        raise AssertionError

    def _read_around_damage(
        self, x: int, y: int, level: int, width: int, height: int, error: Exception
    ) -> tuple[np.ndarray, float]:
        factor = self._factors[level]
        columns = _halves(x / factor, width, self._storage_tile(level, "width"))
        rows = _halves(y / factor, height, self._storage_tile(level, "height"))
        if len(columns) == len(rows) == 1:
            self.unreadable_regions += 1
            log.warning(
                "%s: level %d at (%d, %d) cannot be read: %s", self.path.name, level, x, y, error
            )
            return np.full((height, width, 3), self.background, np.uint8), 1.0
        rgb = np.empty((height, width, 3), np.uint8)
        lost = 0.0
        for top, bottom in rows:
            for left, right in columns:
                where = (round(x + left * factor), round(y + top * factor))
                part, share = self.read(*where, level, right - left, bottom - top)
                rgb[top:bottom, left:right] = part
                lost += share * (right - left) * (bottom - top)
        return rgb, lost / (width * height)

    def _storage_tile(self, level: int, side: str) -> int:
        return int(self.properties.get(f"openslide.level[{level}].tile-{side}", STORAGE_TILE))

    def _on_background(self, rgba: np.ndarray) -> np.ndarray:
        rgb = np.ascontiguousarray(rgba[..., :3])
        clear = rgba[..., 3] < 255  # outside the slide, and in part where a read cuts pixels
        if clear.any():
            alpha = rgba[clear, 3:] / 255
            rgb[clear] = np.rint(rgb[clear] * alpha + np.array(self.background) * (1 - alpha))
        return rgb

    def overview(self, downsample: float) -> np.ndarray:
        """Return the whole slide reduced by about `downsample`.

        The nearest finer level is read in strips and reduced by area averaging, so that memory
        stays small even where level 0 is the only level. ``unreadable_share`` then says which share
        of it is background because it could not be read.

        Returns
        -------
        ``[round(H0 / downsample), round(W0 / downsample), 3]`` uint8.
        """
        w0, h0 = self.dimensions
        level = self.best_level(downsample)
        width, height = self.level_dimensions[level]
        out_w, out_h = max(1, round(w0 / downsample)), max(1, round(h0 / downsample))
        result = np.empty((out_h, out_w, 3), np.uint8)
        lost = 0.0
        rows = max(1, round(STRIP / width * out_h / height))
        for top in range(0, out_h, rows):
            bottom = min(out_h, top + rows)
            first, last = round(top * height / out_h), round(bottom * height / out_h)
            y0 = round(first * self._factors[level])
            strip, share = self.read(0, y0, level, width, max(1, last - first))
            result[top:bottom] = cv2.resize(
                strip, (out_w, bottom - top), interpolation=cv2.INTER_AREA
            )
            lost += share * (bottom - top)
        self.unreadable_share = lost / out_h
        return result

    def best_level(self, downsample: float) -> int:
        """Return the coarsest level that is not coarser than `downsample` (2 % tolerance)."""
        fits = [
            level
            for level in range(len(self.level_dimensions))
            if max(self.downsample(level)) <= downsample * 1.02
        ]
        return fits[-1] if fits else 0


def _halves(start: float, length: int, tile: int) -> list[tuple[int, int]]:
    """Cut a stretch of pixels at the border of storage tiles nearest its middle, if it has one.

    Where `start` is no whole number, the pixel that two tiles share becomes a part of its own.
    """
    borders = np.arange(np.ceil(start / tile), (start + length) // tile + 1) * tile - start
    cuts = np.unique([np.floor(borders), np.ceil(borders)])
    cuts = cuts[(cuts > 0) & (cuts < length)]
    if not len(cuts):
        return [(0, length)]
    cut = int(cuts[np.abs(cuts - length / 2).argmin()])
    return [(0, cut), (cut, length)]
