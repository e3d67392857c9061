"""The back end for tiled TIFF: storage tiles read and decoded directly, several times faster.

OpenSlide spends most of its time composing pictures, not decoding. Here a region is put together
from decoded storage tiles, which are kept for the next region. tifffile reads the directories.
"""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import tifffile

from wsi.reader.backend import CACHE_BYTES, DamagedError
from wsi.reader.tile_codecs import Decoder, NotSupportedError, find_decoder

CELL = 32  # side in pixels of the areas whose mean is compared with the coarser level
ATTEMPTS = 2  # to read a tile: disks drop out, but a tile that fails twice is damaged
SLACK = 2**16  # bytes by which a compressed tile may exceed the raw one


class TiffBackend:
    """Regions put together from the storage tiles of a tiled TIFF.

    Parameters
    ----------
    path : the file.
    pages : a directory for each level, finest first.
    fill_empty : whether a tile that was left out (no bytes) has the pixels of the coarser level
        (Aperio); otherwise it is transparent.

    Attributes
    ----------
    tolerance : mean difference in grey levels of any area of ``CELL`` x ``CELL`` pixels to the
        coarser level from which on a tile counts as damaged; None: not compared. JPEG has no
        checksum, so flipped bits often decode without complaint.

    Raises
    ------
    NotSupportedError : a level is stored in a way that this back end does not decode.
    """

    name = "tiff"

    def __init__(self, path: Path, pages: list[tifffile.TiffPage], fill_empty: bool):
        self._path = path
        self._fill_empty = fill_empty
        self._levels = [_Level.of(page) for page in pages]
        self.level_dimensions = [(level.width, level.height) for level in self._levels]
        self.tolerance: float | None = None
        self._damaged: dict[tuple, list[str]] = {}  # a message for each attempt
        self._cache = _TileCache(CACHE_BYTES)
        self._file = os.open(path, os.O_RDONLY)

    def read(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return ``[height, width, 3]`` uint8, or 4 channels where a tile was left out."""
        return self._read(level, left, top, width, height, 1)

    def read_reduced(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int
    ) -> np.ndarray:
        """Return a region decoded `reduction` times smaller; all numbers count smaller pixels.

        JPEG decoders do this at a fraction of the cost. The pixels are close to area means.
        """
        return self._read(level, left, top, width, height, reduction)

    def reductions(self, level: int) -> tuple[int, ...]:
        """Return the factors by which tiles of a level can be decoded smaller."""
        stored = self._levels[level]
        return tuple(
            factor
            for factor in (stored.decoder.reductions)
            if stored.tile_width % factor == stored.tile_height % factor == 0
        )

    def _read(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int
    ) -> np.ndarray:
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
        if len(self._damaged.get(key, ())) == ATTEMPTS:
            raise DamagedError(self._damaged[key][-1])
        stored = self._levels[level]
        index = row * stored.columns + column
        count = stored.counts[index]
        if count == 0:
            tile = self._from_coarser(level, column, row, reduction) if self._fill_empty else None
        else:
            try:
                if count > stored.tile_width * stored.tile_height * 3 + SLACK:
                    raise DamagedError(f"its {count} bytes are more than its pixels take")
                tile = stored.decoder.decode(self._bytes(stored.offsets[index], count), reduction)
                if self.tolerance is not None and reduction == 1:
                    self._compare_with_coarser(level, column, row, tile)
            except DamagedError as error:
                self._damaged.setdefault(key, []).append(str(error))
                raise
        if tile is not None:
            self._cache.put(key, tile)
        return tile

    def compressed_size(self, level: int, column: int, row: int) -> int:
        """Return the bytes of a storage tile; tissue takes more than glass."""
        stored = self._levels[level]
        return stored.counts[row * stored.columns + column]

    def _bytes(self, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._file, count, offset)
        except OSError as error:
            raise DamagedError(str(error)) from error
        if len(data) < count:
            raise DamagedError(f"{count} bytes were written at {offset}, {len(data)} are left")
        return data

    def difference_to_coarser(self, level: int, column: int, row: int, tile: np.ndarray) -> float:
        """Return the largest difference of the means of an area to the coarser level.

        Areas are ``CELL`` pixels wide, whole ones inside the slide; 0 where there are none, or
        where the coarser level cannot be read.
        """
        stored, coarser = self._levels[level], self._levels[level + 1]
        x, y = column * stored.tile_width, row * stored.tile_height
        cells_x = min(stored.tile_width, stored.width - x) // CELL
        cells_y = min(stored.tile_height, stored.height - y) // CELL
        width = round(cells_x * CELL * coarser.width / stored.width)
        height = round(cells_y * CELL * coarser.height / stored.height)
        left, top = (
            round(x * coarser.width / stored.width),
            round(y * coarser.height / stored.height),
        )
        width, height = min(width, coarser.width - left), min(height, coarser.height - top)
        if width < cells_x or height < cells_y or cells_x == 0 or cells_y == 0:
            return 0.0
        try:
            other = self.read(level + 1, left, top, width, height)
        except DamagedError:
            return 0.0
        if other.shape[2] == 4:
            return 0.0
        size = cells_x, cells_y
        # every fourth row will do: damage in a JPEG hits whole blocks of 8 x 8 or 16 x 16
        mine = cv2.resize(
            tile[: cells_y * CELL : 4, : cells_x * CELL], size, interpolation=cv2.INTER_AREA
        )
        theirs = cv2.resize(other, size, interpolation=cv2.INTER_AREA)
        return float(cv2.norm(mine, theirs, cv2.NORM_INF))

    def _compare_with_coarser(self, level: int, column: int, row: int, tile: np.ndarray) -> None:
        if level + 1 == len(self._levels):
            return
        difference = self.difference_to_coarser(level, column, row, tile)
        if difference > self.tolerance:
            raise DamagedError(
                f"it decodes, but is {difference:.0f} grey levels off what level {level + 1} shows"
            )

    def _from_coarser(self, level: int, column: int, row: int, reduction: int) -> np.ndarray | None:
        if level + 1 == len(self._levels):
            return None
        stored, coarser = self._levels[level], self._levels[level + 1]
        scale_x, scale_y = coarser.width / stored.width, coarser.height / stored.height
        left, top = (
            int(column * stored.tile_width * scale_x),
            int(row * stored.tile_height * scale_y),
        )
        width = max(1, min(coarser.width - left, round(stored.tile_width * scale_x)))
        height = max(1, min(coarser.height - top, round(stored.tile_height * scale_y)))
        region = self.read(level + 1, left, top, width, height)
        if region.shape[2] == 4:
            return None
        size = stored.tile_width // reduction, stored.tile_height // reduction
        return cv2.resize(region, size, interpolation=cv2.INTER_LINEAR)

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of a storage tile."""
        return self._levels[level].tile_width, self._levels[level].tile_height

    def reopen(self) -> None:
        """Open the file anew; a tile that failed once is tried once more."""
        try:
            file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise DamagedError(f"cannot be opened again: {error}") from error
        os.close(self._file)
        self._file = file

    def close(self) -> None:
        """Close the file and drop the decoded tiles."""
        os.close(self._file)
        self._cache = _TileCache(0)


@dataclass
class _Level:
    """What is needed to find and decode the tiles of one level."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    columns: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    decoder: Decoder

    @classmethod
    def of(cls, page: tifffile.TiffPage) -> "_Level":
        columns, rows = (
            -(-page.imagewidth // page.tilewidth),
            -(-page.imagelength // page.tilelength),
        )
        if not columns * rows == len(page.dataoffsets) == len(page.databytecounts):
            raise NotSupportedError(
                f"{len(page.dataoffsets)} tiles for {columns} columns and {rows} rows"
            )
        return cls(
            page.imagewidth,
            page.imagelength,
            page.tilewidth,
            page.tilelength,
            columns,
            page.dataoffsets,
            page.databytecounts,
            find_decoder(page),
        )


@dataclass
class _TileCache:
    """The tiles used last, up to a number of bytes; safe for several threads."""

    capacity: int
    size: int = 0
    tiles: OrderedDict = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple) -> np.ndarray | None:
        with self.lock:
            if key not in self.tiles:
                return None
            self.tiles.move_to_end(key)
            return self.tiles[key]

    def put(self, key: tuple, tile: np.ndarray) -> None:
        with self.lock:
            if key in self.tiles:
                return
            self.tiles[key] = tile
            self.size += tile.nbytes
            while self.size > self.capacity and self.tiles:
                self.size -= self.tiles.popitem(last=False)[1].nbytes
