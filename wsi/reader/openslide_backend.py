"""The back end for every format that is not plain tiled TIFF: OpenSlide."""

from pathlib import Path

import numpy as np
import openslide

from wsi.reader.backend import CACHE_BYTES, DamagedError

STORAGE_TILE = 256  # side of a storage tile where the file does not tell


class OpenSlideBackend:
    """Regions read by OpenSlide.

    Parameters
    ----------
    path : file that OpenSlide can open.
    """

    name = "openslide"

    def __init__(self, path: Path):
        self._path = path
        self._open()
        self.level_dimensions = list(self._handle.level_dimensions)
        self._factors = list(self._handle.level_downsamples)  # one for both axes
        self._properties = dict(self._handle.properties)

    def _open(self) -> None:
        self._handle = openslide.OpenSlide(str(self._path))
        self._handle.set_cache(openslide.OpenSlideCache(CACHE_BYTES))

    def read(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return ``[height, width, 4]`` uint8, alpha 0 where nothing was scanned."""
        # rounded to a level-0 pixel, which is at most half of one away from the level's
        where = round(left * self._factors[level]), round(top * self._factors[level])
        try:
            return np.asarray(self._handle.read_region(where, level, (width, height)))
        except openslide.OpenSlideError as error:
            raise DamagedError(str(error)) from error

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of a storage tile."""
        sides = (
            int(self._properties.get(f"openslide.level[{level}].tile-{side}", STORAGE_TILE))
            for side in ("width", "height")
        )
        return next(sides), next(sides)

    def reopen(self) -> None:
        """Open the file anew: after any error OpenSlide's handle is dead."""
        dead = self._handle
        try:
            self._open()
        except openslide.OpenSlideError as error:
            raise DamagedError(f"cannot be opened again: {error}") from error
        dead.close()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
