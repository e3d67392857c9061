"""The features of one slide as they are given to other programs."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SlideFeatures:
    """What an export knows of a slide.

    Parameters
    ----------
    features, coords : ``[N, D]``, ``[N, 2]`` level-0 pixels, of a feature file.
    encoder : its name.
    footprint0 : side of a patch, level-0 pixels.
    patch_size : side of a patch as the encoder saw it, None where unknown.
    mpp0 : um per level-0 pixel, None where unknown.
    size0 : width and height of level 0, None where unknown.
    """

    features: np.ndarray
    coords: np.ndarray
    encoder: str
    footprint0: float
    patch_size: int | None
    mpp0: float | None
    size0: tuple[int, int] | None
