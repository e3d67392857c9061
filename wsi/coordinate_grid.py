"""What coordinates say of the grid they lie on: its step, and whether they come in regions."""

import numpy as np

SIDE = 4  # a region is a coarse patch: 4 x 4 fine ones
PER_REGION = SIDE * SIDE
ROUNDING = 1  # level-0 pixels by which whole-number corners may leave an exact grid


def grid_step(coords: np.ndarray) -> float | None:
    """Return the commonest distance between neighbours in a row or a column of patches.

    Parameters
    ----------
    coords : ``[N, 2]`` corners (x, y).

    Returns
    -------
    The smallest of the commonest distances; None where no two patches share a row or a column.
    """
    steps = []
    for along, across in ((0, 1), (1, 0)):
        ordered = coords[np.lexsort((coords[:, along], coords[:, across]))]
        difference = np.diff(ordered, axis=0)
        in_line = (difference[:, across] == 0) & (difference[:, along] > 0)
        steps.append(difference[in_line, along])
    distances, counts = np.unique(np.concatenate(steps), return_counts=True)
    return float(distances[counts.argmax()]) if len(distances) else None


def are_regions(coords: np.ndarray, footprint0: float) -> bool:
    """Return whether rows ``16k .. 16k+15`` are a block of 4 x 4 patches, for every k.

    The order within a block does not matter. The step may be smaller than a patch: the first tool
    that made such blocks (AdvMIL's, "big to small") moved by the patch's pixels whatever its level.

    Parameters
    ----------
    coords : ``[N, 2]`` corners (x, y), level-0 pixels.
    footprint0 : side of a patch, level-0 pixels; a larger step leaves gaps, which no region has.
    """
    if not len(coords) or len(coords) % PER_REGION:
        return False
    blocks = coords.reshape(-1, PER_REGION, 2).astype(np.float64)
    offsets = blocks - blocks.min(axis=1, keepdims=True)
    step = np.median(offsets.max(axis=1), axis=0) / (SIDE - 1)  # [2], of all blocks the same
    if (step <= 0).any() or (step > footprint0 + ROUNDING).any():
        return False
    cells = np.rint(offsets / step)
    if (np.abs(offsets - cells * step) > ROUNDING).any() or (cells >= SIDE).any():
        return False
    numbers = np.sort(cells[..., 1] * SIDE + cells[..., 0], axis=1)
    return bool((numbers == np.arange(PER_REGION)).all())
