"""Simulated regions of 4 x 4 tiles, part of each planted with tissue that shortens life."""

import numpy as np
from numpy.typing import NDArray

SIDE = 4  # tiles along a region
STEP = 1 / 4  # of a tile: how far apart the original's expansion lays its sixteen views
STRENGTH = 2.0  # distance of the means of planted and other tiles, in standard deviations of one


def plant_regions(
    share: float, regions: int, width: int, views: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float32]:
    """Return the features of the sixteen views of every region, [16 x regions, width].

    A region's planted tiles lie on one side of a line across it, in a random direction: tissue
    comes in areas, so that a corner says less than the whole.

    Parameters
    ----------
    share : of the patient's tissue that is planted, 0 to 1; a region's own differs by 0.15 (SD).
    regions : number of regions.
    width : D. Planted tiles differ along one direction of features.
    views : [16, 16], how much of each tile a view shows, see `whole_tiles` and `corner_views`.
    random : draws everything.
    """
    rows, columns = np.divmod(np.arange(SIDE**2), SIDE)
    every = []
    for _ in range(regions):
        planted = np.clip(random.normal(share, 0.15), 0, 1)
        angle = random.uniform(0, 2 * np.pi)
        place = np.argsort(rows * np.sin(angle) + columns * np.cos(angle), kind="stable")
        sign = np.full(SIDE**2, -0.5)
        sign[place[: round(planted * SIDE**2)]] = 0.5
        texture = views @ random.standard_normal((SIDE**2, width))
        texture /= np.sqrt((views**2).sum(1, keepdims=True))  # a view varies as much as a tile
        signal = views @ sign * STRENGTH
        every.append(texture + signal[:, None] / np.sqrt(width))
    return np.concatenate(every).astype(np.float32)


def whole_tiles() -> NDArray[np.float64]:
    """Return the views of a correct expansion: the sixteen tiles."""
    return np.eye(SIDE**2)


def corner_views() -> NDArray[np.float64]:
    """Return the views of the original's expansion from level 2 to level 1.

    They lie a quarter of a tile apart, not a whole one, and so overlap and cover 1.75 x 1.75 tiles
    in the corner, 19 % of the region. A view counts as the mean of the tiles it shows, by area.
    """
    along = np.zeros((SIDE, SIDE))
    for i in range(SIDE):
        along[i, 0], along[i, 1] = 1 - i * STEP, i * STEP
    return np.kron(along, along)
