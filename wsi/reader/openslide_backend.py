"""The back end for every format that is not plain tiled TIFF: OpenSlide."""

from pathlib import Path

import numpy as np
import openslide

from wsi.reader.backend import CACHE_BYTES, DamagedError

STORAGE_TILE = 256  # side of a storage tile where the file does not tell


class OpenSlideBackend:
    """Regions read by OpenSlide.

    After any error a handle of OpenSlide is dead, also for threads that read good pixels by it. So
    what failed is read once more by a fresh handle that no other thread knows; the dead one is
    closed when the last thread lets go of it.

    Parameters
    ----------
    path : file that OpenSlide can open.

    Raises
    ------
    openslide.OpenSlideError : it cannot be opened.
    """

    name = "openslide"

    def __init__(self, path: Path):
        self._path = path
        self._closed = False
        handle = self._handle = self._fresh()
        self.level_dimensions = list(handle.level_dimensions)
        self._factors = list(handle.level_downsamples)  # one for both axes
        self._tiles = [_storage_tile(handle, level) for level in range(handle.level_count)]

    def _fresh(self) -> openslide.OpenSlide:
        handle = openslide.OpenSlide(str(self._path))
        handle.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        return handle

    def read(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int = 1
    ) -> np.ndarray:
        """Return ``[height, width, 4]`` uint8, alpha 0 where nothing was scanned."""
        if self._closed:
            raise ValueError(f"{self._path} is read after it was closed")
        # rounded to a level-0 pixel, which is at most half of one away from the level's
        where = round(left * self._factors[level]), round(top * self._factors[level])
        handle = self._handle
        try:
            if handle is not None:
                return np.asarray(handle.read_region(where, level, (width, height)))
        except openslide.OpenSlideError:
            self._handle = None
        try:
            handle = self._fresh()
            pixels = np.asarray(handle.read_region(where, level, (width, height)))
        except openslide.OpenSlideError as error:
            raise DamagedError(str(error)) from error
        self._handle = handle
        return pixels

    def reductions(self, level: int) -> tuple[int, ...]:
        """Return nothing: OpenSlide decodes at full size only."""
        return ()

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of a storage tile."""
        return self._tiles[level]

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


def _storage_tile(handle: openslide.OpenSlide, level: int) -> tuple[int, int]:
    width, height = (
        int(handle.properties.get(f"openslide.level[{level}].tile-{side}", STORAGE_TILE))
        for side in ("width", "height")
    )
    return width, height
