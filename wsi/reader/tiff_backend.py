"""The back end for tiled TIFF: storage tiles read and decoded directly, several times faster.

OpenSlide spends most of its time composing pictures, not decoding. Here a region is put together
from decoded storage tiles, which are kept for the next region. tifffile reads the directories.
"""

import os
from pathlib import Path

import numpy as np
import tifffile

from wsi.reader.backend import CACHE_BYTES, DamagedError
from wsi.reader.cross_check import CrossCheck
from wsi.reader.tiff_level import TiffLevel
from wsi.reader.tile_cache import TileCache

SLACK = 2**16  # bytes by which a compressed tile may exceed the raw one


class TiffBackend:
    """Regions put together from the storage tiles of a tiled TIFF.

    Parameters
    ----------
    path : the file.
    pages : a directory for each level, finest first.

    Raises
    ------
    NotSupportedError : a level is stored in a way that this back end does not decode.
    """

    name = "tiff"

    def __init__(self, path: Path, pages: list[tifffile.TiffPage]):
        self._path = path
        self._levels = [TiffLevel.of(page) for page in pages]
        self.level_dimensions = [(level.width, level.height) for level in self._levels]
        self._damaged: dict[tuple, str] = {}
        self._cache = TileCache(CACHE_BYTES)
        self._cross_check: CrossCheck | None = None
        self._file = open(path, "rb", buffering=0)

    def cross_check(self) -> None:
        """From now on hold tiles against the coarser level, where a sample shows that they agree.

        JPEG has no checksum: flipped bits often decode without complaint.
        """
        self._cross_check = CrossCheck(self)
        self._cache.clear()  # what was read before was not compared

    def read(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int = 1
    ) -> np.ndarray:
        """Return ``[height, width, 3]`` uint8, or 4 channels where a tile was left out."""
        stored = self._levels[level]
        tile_width, tile_height = stored.tile_width // reduction, stored.tile_height // reduction
        region = np.empty((height, width, 3), np.uint8)
        clear: np.ndarray | None = None
        for row in range(top // tile_height, (top + height - 1) // tile_height + 1):
            y = row * tile_height
            for column in range(left // tile_width, (left + width - 1) // tile_width + 1):
                x = column * tile_width
                into = (
                    slice(max(0, y - top), y + tile_height - top),
                    slice(max(0, x - left), x + tile_width - left),
                )
                tile = self.tile(level, column, row, reduction)
                if tile is None:
                    if clear is None:
                        clear = np.zeros((height, width), bool)
                    clear[into] = True
                    continue
                region[into] = tile[
                    max(0, top - y) : top + height - y, max(0, left - x) : left + width - x
                ]
        if clear is None:
            return region
        region[clear] = 0
        return np.dstack([region, np.where(clear, 0, 255).astype(np.uint8)])

    def tile(self, level: int, column: int, row: int, reduction: int = 1) -> np.ndarray | None:
        """Return a decoded storage tile ``[h, w, 3]`` uint8, or None for one that was left out.

        Raises
        ------
        DamagedError : its bytes are missing, do not decode, or contradict the coarser level.
        """
        key = level, column, row, reduction
        tile = self._cache.get(key)
        if tile is not None:
            return tile
        if key in self._damaged:
            raise DamagedError(self._damaged[key])
        if self.compressed_size(level, column, row) == 0:
            return None
        try:
            tile = self._stored(level, column, row, reduction)
        except DamagedError as error:
            self._damaged[key] = str(error)
            raise
        self._cache.put(key, tile)
        return tile

    def _stored(self, level: int, column: int, row: int, reduction: int) -> np.ndarray:
        """Read and decode a tile that has bytes."""
        stored = self._levels[level]
        index = row * stored.columns + column
        offset, count = stored.offsets[index], stored.counts[index]
        if count > stored.tile_width * stored.tile_height * 3 + SLACK:
            raise DamagedError(f"its {count} bytes are more than its pixels take")
        data = self._bytes(offset, count)
        try:
            return self._checked(level, column, row, reduction, data)
        except DamagedError:
            self._reopen()  # a disk that dropped out passes; damage does not
            again = self._bytes(offset, count)
            if again == data:
                raise
            return self._checked(level, column, row, reduction, again)

    def _checked(
        self, level: int, column: int, row: int, reduction: int, data: bytes
    ) -> np.ndarray:
        tile = self._levels[level].decoder.decode(data, reduction)
        if self._cross_check and (why := self._cross_check(level, column, row, tile)):
            raise DamagedError(why)
        return tile

    def _bytes(self, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), count, offset)
        except OSError:
            self._reopen()  # after a network disk dropped out, the old handle is dead
            try:
                data = os.pread(self._file.fileno(), count, offset)
            except OSError as error:
                raise DamagedError(str(error)) from error
        except OverflowError as error:  # an offset beyond what any file has
            raise DamagedError(str(error)) from error
        if len(data) < count:
            raise DamagedError(f"{count} bytes were written at {offset}, {len(data)} are left")
        return data

    def _reopen(self) -> None:
        try:
            fresh = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise DamagedError(f"cannot be opened again: {error}") from error
        os.dup2(fresh, self._file.fileno(), inheritable=False)  # at once, for other threads' sake
        os.close(fresh)

    def kind(self, level: int) -> str:
        """Return in words how the tiles of a level are stored."""
        return self._levels[level].decoder.kind

    def tiles(self, level: int) -> tuple[int, int]:
        """Return the number of columns and rows of storage tiles."""
        return self._levels[level].columns, self._levels[level].rows

    def compressed_size(self, level: int, column: int, row: int) -> int:
        """Return the bytes of a storage tile; tissue takes more than glass."""
        stored = self._levels[level]
        return stored.counts[row * stored.columns + column]

    def reductions(self, level: int) -> tuple[int, ...]:
        """Return the factors by which JPEG decoders make tiles smaller, close to area means."""
        return self._levels[level].reductions()

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of a storage tile."""
        return self._levels[level].tile_width, self._levels[level].tile_height

    def close(self) -> None:
        """Close the file and drop the decoded tiles."""
        self._file.close()
        self._cache = TileCache(0)
