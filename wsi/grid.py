"""Where patches lie: one grid for a slide or one for each piece of tissue, and their children."""

from collections.abc import Mapping, Sequence

import numpy as np

from wsi.clam.grid import Lattice, accepted, candidates, contour_grid
from wsi.clam.grid import footprint as clam_footprint
from wsi.outlines import Pieces
from wsi.scale import RATIO
from wsi.tissue_area import AreaOf


def lay(
    pieces: Pieces,
    tissue: AreaOf,
    side: int,
    patches: Mapping[str, object],
    *,
    dimensions: tuple[int, int],
    bounds: tuple[int, int, int, int],
    clam_level: tuple[Sequence[tuple[int, int]], int] | None,
) -> np.ndarray:
    """Return the corners of the coarse patches of a slide, ``[N, 2]`` int64 in level-0 pixels.

    Parameters
    ----------
    pieces, tissue : outlines, and the area in them.
    side : of a coarse patch in level-0 pixels.
    patches : ``size`` in pixels; ``step`` in the same pixels, None for no gap and no overlap;
        ``grid``: ``slide`` (one, anchored at the corner of the scanned area) or ``contour``
        (CLAM's: one for each piece); ``rule``: ``fraction`` (at least `min_tissue` of the patch is
        tissue) or one of CLAM's contour functions; ``padding``: whether patches may hang over the
        right and lower edge.
    dimensions : width and height of level 0.
    bounds : x, y, width, height of the scanned area.
    clam_level : level dimensions and level where patches are laid by level and on CLAM's grid:
        its footprint and step are then CLAM's own, whose downsamples are cut off; or None.
    """
    step = round(side * (patches["step"] or patches["size"]) / patches["size"])
    if patches["grid"] == "slide":
        return _on_slide(pieces, tissue, side, step, patches, dimensions, bounds)
    rule, padding = patches["rule"], patches["padding"]
    covers, steps = (side, side), (step, step)
    if clam_level:
        covers = clam_footprint(*clam_level, patches["size"])
        steps = clam_footprint(*clam_level, patches["step"] or patches["size"])
    whole = [[ring.astype(np.int64) for ring in piece] for piece in pieces]
    if rule != "fraction":
        return contour_grid(whole, dimensions, covers, steps, rule, padding)
    laid = [candidates(piece[0], dimensions, covers, steps, padding) for piece in whole]
    every = [lattice.points(np.ones((lattice.columns, lattice.rows), bool)) for lattice in laid]
    coords = np.concatenate([np.zeros((0, 2), np.int64), *every])
    return coords[tissue.fraction(coords, side) >= patches["min_tissue"]]


def _on_slide(pieces, tissue, side, step, patches, dimensions, bounds) -> np.ndarray:
    x, y, width, height = bounds
    if not patches["padding"]:
        width = min(width, dimensions[0] - side + 1 - x)
        height = min(height, dimensions[1] - side + 1 - y)
    columns, rows = max(0, -(-width // step)), max(0, -(-height // step))
    lattice = Lattice(x, y, step, step, columns, rows)
    if patches["rule"] == "fraction":
        coords = lattice.points(np.ones((columns, rows), bool))
        return coords[tissue.fraction(coords, side) >= patches["min_tissue"]]
    chosen = np.zeros((columns, rows), bool)
    for piece in pieces:
        whole = [ring.astype(np.int64) for ring in piece]
        chosen |= accepted(whole, lattice, side, patches["rule"])
    return lattice.points(chosen)


def children(coords: np.ndarray, step: int) -> np.ndarray:
    """Return the 16 children of each coarse patch.

    Parameters
    ----------
    coords : ``[M, 2]`` corners of coarse patches, level-0 pixels.
    step : from a child to the next in level-0 pixels: the side of a child, if they are to tile the
        coarse patch.

    Returns
    -------
    ``[16 M, 2]`` int64; in each block of 16 rows y is the outer and x the inner index.
    """
    steps = np.arange(RATIO, dtype=np.int64) * step
    offsets = np.stack(np.meshgrid(steps, steps, indexing="xy"), axis=-1).reshape(-1, 2)
    return (coords[:, None, :] + offsets[None]).reshape(-1, 2).astype(np.int64)
