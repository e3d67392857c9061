"""Changed pixels, to see what a trained model makes of them: Gaussian blur and stain colour.

The levels are those of AdvMIL's robustness experiments (specification advmil 11).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

BLUR = {  # standard deviations that a patch draws from, pixels of the patch
    "lighter": np.arange(1, 12) / 10,
    "light": np.arange(12, 23) / 10,
    "strong": np.arange(23, 31) / 10,
}
HED = {"lighter": 0.03, "light": 0.1, "strong": 1.0}  # half widths of what a patch draws from

# Haematoxylin, eosin and DAB absorb so much red, green and blue (Ruifrok and Johnston, 2001).
HED_TO_RGB = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
RGB_TO_HED = np.linalg.inv(HED_TO_RGB)
DARKEST = 1e-6  # what black counts as; one unit of a stain takes a pixel from white to this
USUAL = (0.05, 0.95)  # mean intensity of patches whose colour is changed


class PatchChange(ABC):
    """Changes the patches of one slide. A patch's draws depend on the slide and its row alone."""

    def __call__(self, patches: np.ndarray, start: int) -> np.ndarray:
        """Return changed copies of the patches from row `start` on, ``[n, P, P, 3]`` uint8."""
        rows = range(start, start + len(patches))
        return np.stack([self.change(patch, row) for patch, row in zip(patches, rows, strict=True)])

    @abstractmethod
    def change(self, patch: np.ndarray, row: int) -> np.ndarray:
        """Return the changed patch of a row, ``[P, P, 3]`` uint8."""


class Blur(PatchChange):
    """Gaussian blur; what lies beyond the edge of a patch is its mirror image.

    Parameters
    ----------
    level : one of `BLUR`.
    random : generator of the slide.
    patches : their number, N.

    Attributes
    ----------
    sigma : ``[N]`` standard deviations in pixels. The kernel is ``6 ceil(sigma) + 1`` wide.
    """

    def __init__(self, level: str, random: np.random.Generator, patches: int):
        self.sigma = random.choice(BLUR[level], patches)

    def change(self, patch: np.ndarray, row: int) -> np.ndarray:
        """Return the blurred patch of a row."""
        sigma = float(self.sigma[row])
        side = 6 * ceil(sigma) + 1
        return cv2.GaussianBlur(patch, (side, side), sigma)


class StainColour(PatchChange):
    r"""Other amounts of stain (Tellez et al., IEEE Transactions on Medical Imaging 2018).

    Each of the amounts v of haematoxylin, eosin and DAB of a pixel becomes
    :math:`v (1 + s) + b`, s and b being uniform in :math:`[-a, a]` for each patch and stain. The
    amounts are scikit-image's but for negative ones, which it cuts off: they are kept, so that a
    patch stays as it is where s and b vanish. Patches whose mean intensity is outside 0.05-0.95
    stay as they are.

    Parameters
    ----------
    level : one of `HED`, which gives a.
    random : generator of the slide.
    patches : their number, N.

    Attributes
    ----------
    factor, shift : ``[N, 3]``, 1 + s and b.
    """

    def __init__(self, level: str, random: np.random.Generator, patches: int):
        drawn = random.uniform(-HED[level], HED[level], (patches, 2, 3))
        self.factor, self.shift = 1 + drawn[:, 0], drawn[:, 1]

    def change(self, patch: np.ndarray, row: int) -> np.ndarray:
        """Return the patch of a row in other colours."""
        if not USUAL[0] <= patch.mean() / 255 <= USUAL[1]:
            return patch
        # Amounts are linear in log colour, so all in all log colour changes linearly, too.
        linear = (RGB_TO_HED * self.factor[row]) @ HED_TO_RGB
        constant = np.log(DARKEST) * self.shift[row] @ HED_TO_RGB
        colour = np.exp(_LOG[patch] @ linear + constant)
        return np.rint(255 * colour.clip(0, 1)).astype(np.uint8)


_LOG = np.log(np.maximum(np.arange(256) / 255, DARKEST))  # of a grey level
KINDS = {"blur": Blur, "hed": StainColour}


@dataclass(frozen=True)
class Perturbation:
    """One way to change the pixels of a cohort.

    Parameters
    ----------
    kind : ``blur`` or ``hed``.
    level : ``lighter``, ``light`` or ``strong``.
    seed : of this kind and level.
    """

    kind: str
    level: str
    seed: int

    @classmethod
    def of(cls, settings: Mapping[str, object] | None) -> "Perturbation | None":
        """Return the perturbation with these fields; None of None."""
        return None if settings is None else cls(**settings)

    @property
    def name(self) -> str:
        """Kind and level in a word."""
        return f"{self.kind}-{self.level}"

    def of_slide(self, slide_id: str, patches: int) -> PatchChange:
        """Return how the patches of a slide are changed."""
        random = np.random.default_rng([self.seed, *slide_id.encode()])
        return KINDS[self.kind](self.level, random, patches)
