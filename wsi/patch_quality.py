"""What is known of each patch beside its place: tissue, pen, folds, colour, focus, damage."""

from dataclasses import dataclass

import cv2
import numpy as np

from wsi.measures import NAMES, blurred, measure, measure_blocks
from wsi.reader import Slide
from wsi.scale import CHILDREN, RATIO

MPP = 2.0  # um per pixel at which colour and focus are measured
FLAGS = ("pen", "fold", "blur")  # bit 0, 1, 2 of a patch's flags
MOST_PEN = 0.05  # share of a patch; more flags it
MOST_FOLD = 0.2
LEAST_JUDGED = 0.5  # of a coarse patch's children with something to judge; fewer give it no focus


@dataclass(frozen=True)
class Measured:
    """Measures of coarse patches and of their children.

    Attributes
    ----------
    coarse, fine : name -> ``[M]`` and ``[16 M]`` float16, see :func:`wsi.measures.measure_blocks`.
    unreadable : ``[M]`` float16, share of a coarse patch that could not be read.
    """

    coarse: dict[str, np.ndarray]
    fine: dict[str, np.ndarray]
    unreadable: np.ndarray


def measure_patches(
    slide: Slide, coords: np.ndarray, footprint: int, mpp0: float, white: np.ndarray
) -> Measured:
    """Read every coarse patch at about 2 um/px and measure its 16 children.

    Parameters
    ----------
    slide : opened.
    coords : ``[M, 2]`` corners of coarse patches, level-0 pixels.
    footprint : side of a coarse patch, level-0 pixels.
    mpp0 : um per level-0 pixel.
    white : ``[3]`` colour of bare glass.
    """
    level, read, side = _plan(slide, footprint, mpp0)
    side = RATIO * max(1, side // RATIO)
    fine = {name: np.empty((len(coords), CHILDREN), np.float16) for name in NAMES}
    unreadable = np.empty(len(coords), np.float16)
    for i, (x, y) in enumerate(coords.tolist()):
        region, unreadable[i] = slide.read(x, y, level, read, read)
        region = _reduced(region, side)
        for name, values in measure_blocks(region, RATIO, white).items():
            fine[name][i] = values
    coarse = {name: values.mean(axis=1, dtype=np.float32) for name, values in fine.items()}
    coarse["focus"] = _focus_of_coarse(fine["focus"])
    return Measured(
        {name: values.astype(np.float16) for name, values in coarse.items()},
        {name: values.reshape(-1) for name, values in fine.items()},
        unreadable,
    )


def measure_each(
    slide: Slide, coords: np.ndarray, footprint: int, mpp0: float, white: np.ndarray
) -> dict[str, np.ndarray]:
    """Read patches one by one at about 2 um/px and measure each: those that do not tile a region.

    Parameters
    ----------
    coords : ``[N, 2]`` corners of any patches, level-0 pixels.
    slide, footprint, mpp0, white : as for `measure_patches`; the footprint is that of one patch.

    Returns
    -------
    name -> ``[N]`` float16.
    """
    level, read, side = _plan(slide, footprint, mpp0)
    regions = (slide.read(x, y, level, read, read)[0] for x, y in coords.tolist())
    return measure((_reduced(region, side) for region in regions), white)


def _plan(slide: Slide, footprint: int, mpp0: float) -> tuple[int, int, int]:
    """Return the level to read, the side to read there, and the side at which it is measured."""
    wanted = max(1.0, MPP / mpp0)
    level = slide.best_level(wanted)
    read = round(footprint / (sum(slide.downsample(level)) / 2))
    return level, read, min(read, max(1, round(footprint / wanted)))


def _reduced(region: np.ndarray, side: int) -> np.ndarray:
    if len(region) == side:
        return region
    return cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA)


def _focus_of_coarse(focus: np.ndarray) -> np.ndarray:
    """Return the median focus of the children of each patch; NaN where most have none."""
    judged = np.isfinite(focus).mean(axis=1) >= LEAST_JUDGED
    result = np.full(len(focus), np.nan, np.float32)
    result[judged] = np.nanmedian(focus[judged].astype(np.float32), axis=1)
    return result


def flags(tissue: np.ndarray, pen: np.ndarray, fold: np.ndarray, focus: np.ndarray) -> np.ndarray:
    """Return the flags of patches, ``[N]`` uint8: bit 0 pen, 1 fold, 2 blur.

    Parameters
    ----------
    tissue, pen, fold : shares of each patch, ``[N]``.
    focus : ``[N]``, NaN where there is nothing to judge.
    """
    found = (pen > MOST_PEN, fold > MOST_FOLD, blurred(focus, tissue))
    return sum(hit.astype(np.uint8) << bit for bit, hit in enumerate(found))
