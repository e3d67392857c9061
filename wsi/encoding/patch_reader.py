"""The fine patches of a slide, sixteen at a time."""

from pathlib import Path

import cv2
import numpy as np

from wsi.perturbation import PatchChange
from wsi.reader import Slide
from wsi.scale import CHILDREN, RATIO
from wsi.storage import read_h5

PATCH_UNREADABLE = 0.1  # share of a patch's area; with more missing it counts as unreadable


class PatchReader:
    """Reads the 16 children of one coarse patch after another. Threads may share one.

    Where children lie on whole pixels of the level read, the 16 are one read; the pixels are the
    same as those of 16 reads.

    Parameters
    ----------
    slide : opened slide; closed with the reader.
    coords : ``[N, 2]``, level-0 pixels, 16 rows a coarse patch.
    attributes : of the patch file.
    change : what changes the pixels of patches, None for nothing.
    """

    def __init__(
        self,
        slide: Slide,
        coords: np.ndarray,
        attributes: dict,
        change: PatchChange | None = None,
    ):
        self.slide, self.coords, self.change = slide, coords, change
        if attributes["pad"] == "black":
            slide.background = (0, 0, 0)
        self.level = int(attributes["patch_level"])
        self.read_size = int(attributes["read_size"])
        self.size = int(attributes["size"])
        self.footprint = int(attributes["footprint0"])
        factors = slide.downsample(self.level)
        self.one_read = (
            not attributes.get("legacy_offsets", False)  # or patches lie over each other
            and all(
                factor == round(factor) and self.footprint == self.read_size * factor
                for factor in factors
            )
            and not (coords % np.array([round(factor) for factor in factors])).any()
        )

    @classmethod
    def open(
        cls, slide: str | Path, patches: str | Path, change: PatchChange | None = None
    ) -> "PatchReader":
        """Open a slide to read the patches of a patch file.

        Raises
        ------
        SlideError
            Kind ``unreadable``.
        """
        arrays, attributes = read_h5(patches)
        return cls(Slide(slide), arrays["coords"], attributes, change)

    def close(self) -> None:
        """Close the slide; no read may be under way."""
        self.slide.close()

    def block(self, start: int) -> tuple[np.ndarray, int]:
        """Read the 16 patches from row `start` on.

        Returns
        -------
        patches : ``[16, size, size, 3]`` uint8.
        unreadable : how many of them count as unreadable.
        """
        patches, unreadable = self._read(start)
        if self.change is not None:
            patches = self.change(patches, start)
        return patches, unreadable

    def _read(self, start: int) -> tuple[np.ndarray, int]:
        if self.one_read:
            side, n = self.read_size, RATIO
            x, y = self.coords[start]
            region, lost = self.slide.read(x, y, self.level, n * side, n * side)
            if not lost:
                tiles = region.reshape(n, side, n, side, 3).swapaxes(1, 2)
                return self._reduced(tiles.reshape(-1, side, side, 3)), 0
        # some of them are hit, or they are no whole pixels apart: one by one
        side = self.read_size
        reads = [
            self.slide.read(x, y, self.level, side, side)
            for x, y in self.coords[start : start + CHILDREN]
        ]
        unreadable = sum(lost > PATCH_UNREADABLE for _, lost in reads)
        return self._reduced(np.stack([patch for patch, _ in reads])), unreadable

    def _reduced(self, patches: np.ndarray) -> np.ndarray:
        if patches.shape[1] == self.size:
            return patches
        size = (self.size, self.size)
        return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in patches])
