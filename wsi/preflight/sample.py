"""How much of a slide is tissue, from places drawn at random."""

import time
from dataclasses import dataclass

import cv2
import numpy as np

from wsi.outlines import MASK_MPP
from wsi.reader import Slide
from wsi.scale import ReadPlan
from wsi.segment import segment

MOST = 128  # coarse patches looked at
SECONDS = 15.0  # after which no further one is
# column and row of the children read of each: one in each column and in each row
SPREAD = np.array([(1, 0), (3, 1), (0, 2), (2, 3)])


@dataclass(frozen=True)
class Sample:
    """What coarse patches drawn at random have told.

    Parameters
    ----------
    kept : share of them that have enough tissue to be kept, 0-1.
    tissue : share of their area that is tissue, 0-1.
    places, unreadable : children read, and how many of those not wholly.
    seconds : to read a child of a coarse patch that is kept (bare glass is decoded faster).
    """

    kept: float
    tissue: float
    places: int
    unreadable: int
    seconds: float


def sample_tissue(
    slide: Slide,
    corners: np.ndarray,
    plan: ReadPlan,
    mpp0: float,
    *,
    min_tissue: float,
    close_um: float,
) -> Sample:
    """Read some children of coarse patches in random order and find tissue on all of them together.

    They are put together to one picture, so that bare glass and tissue are told apart by the
    colours of the whole slide, as on an overview of it.

    Parameters
    ----------
    slide : whose level 0 is too large to be read for this.
    corners : ``[M, 2]`` of all coarse patches, level-0 pixels.
    plan : how fine patches are read.
    mpp0 : um per level-0 pixel.
    min_tissue : least tissue fraction of a coarse patch that is kept.
    close_um : as for :func:`wsi.segment.segment`.
    """
    order = np.random.default_rng(0).permutation(len(corners))[:MOST]
    side = max(1, round(plan.footprint * mpp0 / MASK_MPP))
    places, spent, unreadable = [], [], 0
    for corner in corners[order]:
        start = time.perf_counter()
        for x, y in corner + SPREAD * plan.footprint:
            region, lost = slide.read(int(x), int(y), plan.level, plan.read_size, plan.read_size)
            places.append(cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA))
            unreadable += lost > 0
        spent.append(time.perf_counter() - start)
        if sum(spent) > SECONDS:
            break
    picture = np.concatenate(places)
    found = segment(picture, MASK_MPP, close_um=close_um, min_area_mm2=0.0, min_hole_mm2=0.0)
    by_patch = found.tissue.reshape(len(spent), -1)
    fraction = by_patch.mean(axis=1)
    kept = fraction >= min_tissue
    seconds = np.mean(np.array(spent)[kept] if kept.any() else spent) / len(SPREAD)
    return Sample(
        float(kept.mean()), float(fraction.mean()), len(places), unreadable, float(seconds)
    )
