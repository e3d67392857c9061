"""What a back end of the reader is."""

from typing import Protocol

import numpy as np

CACHE_BYTES = 2**26  # of decoded storage tiles, for each open slide


class DamagedError(Exception):
    """Pixels cannot be read, or are certainly not those that were written."""


class Backend(Protocol):
    """Pixels of one open file, in whole pixels of its levels.

    Attributes
    ----------
    name : ``tiff``, ``openslide`` or ``picture``.
    level_dimensions : width and height of each level.
    """

    name: str
    level_dimensions: list[tuple[int, int]]

    def read(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return ``[height, width, 4]`` or ``[height, width, 3]`` uint8 of a region in the level.

        Raises
        ------
        DamagedError : a part of it cannot be read; which one is for the caller to find out.
        """

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of the blocks that are stored, and so damaged, as one."""

    def reopen(self) -> None:
        """Open the file anew: after a disk dropped out, old handles are dead."""

    def close(self) -> None:
        """Close the file and drop what is cached."""
