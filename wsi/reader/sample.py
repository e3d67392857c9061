"""Which tiles of a level are looked at when a slide is opened."""

from typing import Protocol

TRIED = 256  # tiles that a sample is chosen from


class Tiled(Protocol):
    """What has storage tiles."""

    def tiles(self, level: int) -> tuple[int, int]:
        """Return the number of columns and rows."""

    def compressed_size(self, level: int, column: int, row: int) -> int:
        """Return the bytes of a tile."""


def largest_tiles(backend: Tiled, level: int) -> list[tuple[int, int]]:
    """Return columns and rows of some tiles of a level, those with most bytes first.

    Tissue takes more bytes than glass. The sample is the same every time.
    """
    columns, rows = backend.tiles(level)
    # evenly over the whole level, by a step that does not repeat columns
    step = max(1, columns * rows // TRIED) | 1
    tiles = [divmod(index, columns)[::-1] for index in range(0, columns * rows, step)][:TRIED]
    return sorted(tiles, key=lambda tile: -backend.compressed_size(level, *tile))
