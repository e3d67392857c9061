"""What a back end of the reader is."""

from typing import Protocol

import numpy as np

CACHE_BYTES = 2**26  # of decoded storage tiles, for each open slide


class DamagedError(Exception):
    """Pixels cannot be read, or are certainly not those that were written."""


class Backend(Protocol):
    """Pixels of one open file, in whole pixels of its levels. Several threads may read at once.

    Attributes
    ----------
    name : ``tiff``, ``openslide`` or ``picture``.
    level_dimensions : width and height of each level.
    """

    name: str
    level_dimensions: list[tuple[int, int]]

    def read(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int = 1
    ) -> np.ndarray:
        """Return ``[height, width, 4]`` or ``[height, width, 3]`` uint8 of a region in the level.

        With a reduction (one of :meth:`reductions`) all numbers count pixels of the level that are
        `reduction` times larger.

        Raises
        ------
        DamagedError : a part of it cannot be read, not even from the file opened anew; which part
            is for the caller to find out.
        """

    def reductions(self, level: int) -> tuple[int, ...]:
        """Return the factors by which a level can be decoded smaller at less cost."""

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of the blocks that are stored, and so damaged, as one."""

    def close(self) -> None:
        """Close the file and drop what is cached; closing twice does no harm."""
