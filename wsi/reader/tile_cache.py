"""Decoded storage tiles, kept for the next region."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np


@dataclass
class TileCache:
    """The tiles used last, up to a number of bytes; safe for several threads.

    Parameters
    ----------
    capacity : bytes of all tiles together.
    """

    capacity: int
    size: int = 0
    tiles: OrderedDict = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple) -> np.ndarray | None:
        """Return a tile, or None if it is not here."""
        with self.lock:
            if key not in self.tiles:
                return None
            self.tiles.move_to_end(key)
            return self.tiles[key]

    def put(self, key: tuple, tile: np.ndarray) -> None:
        """Keep a tile; those not used for longest go."""
        with self.lock:
            if key in self.tiles:
                return
            self.tiles[key] = tile
            self.size += tile.nbytes
            while self.size > self.capacity and self.tiles:
                self.size -= self.tiles.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop all tiles."""
        with self.lock:
            self.tiles.clear()
            self.size = 0
