"""CLAM's patch grid: one lattice for each piece of tissue, its points tested all at once.

Specification wsi 2. Candidates lie on a lattice, so a polygon is filled over it line by line: an
edge crosses a lattice line at one place and turns over every point behind it. Whole numbers
throughout, hence exact. (CLAM tests point by point, in a pool of processes for each piece.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lattice:
    """Points ``(x + i * step_x, y + j * step_y)`` for i < columns, j < rows; all int."""

    x: int
    y: int
    step_x: int
    step_y: int
    columns: int
    rows: int

    def shifted(self, dx: int, dy: int) -> "Lattice":
        """Return the lattice moved by (dx, dy)."""
        return Lattice(self.x + dx, self.y + dy, self.step_x, self.step_y, self.columns, self.rows)

    def doubled(self) -> "Lattice":
        """Return the lattice with all lengths doubled."""
        return Lattice(
            *(2 * self.x, 2 * self.y, 2 * self.step_x, 2 * self.step_y, self.columns, self.rows)
        )

    def points(self, chosen: np.ndarray) -> np.ndarray:
        """Return the points ``[N, 2]`` int64 where `chosen` ``[columns, rows]`` is true."""
        i, j = np.nonzero(chosen)  # x slow, y fast
        return np.stack([self.x + i * self.step_x, self.y + j * self.step_y], axis=1)


def footprint(
    level_dimensions: Sequence[tuple[int, int]], level: int, size: int
) -> tuple[int, int]:
    """Return what CLAM takes for `size` pixels of a level in level-0 pixels, for x and y.

    Downsamples are cut off, not rounded: 3.9997 counts as 3. Serves the patch and the step.

    Raises
    ------
    ValueError : the slide has no such level.
    """
    if not 0 <= level < len(level_dimensions):
        raise ValueError(
            f"patch_level is {level}, but the slide has {len(level_dimensions)} level(s), numbered "
            f"0 to {len(level_dimensions) - 1}; choose one of them."
        )
    (w0, h0), (width, height) = level_dimensions[0], level_dimensions[level]
    return size * int(w0 / width), size * int(h0 / height)


def contour_grid(
    pieces: Sequence[Sequence[np.ndarray]],
    dimensions: tuple[int, int],
    footprint: tuple[int, int],
    step: tuple[int, int],
    rule: str = "four_pt",
    padding: bool = True,
) -> np.ndarray:
    """Return the corners of CLAM's patches.

    Each piece has a grid of its own, anchored at the corner of its box, so patches of neighbouring
    pieces may overlap.

    Parameters
    ----------
    pieces : outline and holes of each piece, ``[n, 2]`` whole numbers, level-0 pixels.
    dimensions : width and height of level 0.
    footprint : width and height of a patch in level-0 pixels. Points inside the patch are placed
        by its width alone, as CLAM does.
    step : from one patch to the next, x and y, level-0 pixels.
    rule : which points of a patch must lie in the outline or on it (CLAM's ``contour_fn``):
        ``basic`` its corner, ``center`` its centre, ``four_pt`` any of the four points half way
        between centre and corners, ``four_pt_hard`` all four. With each, patches with their centre
        inside a hole go; a centre on the hole's border stays.
    padding : whether patches may hang over the right and the lower edge of the slide.

    Returns
    -------
    ``[N, 2]`` int64 (x, y), level-0 pixels: piece after piece, x slow, y fast.

    Raises
    ------
    ValueError : `rule` is none of the four.
    """
    if rule not in RULES:
        raise ValueError(f"contour_fn is {rule}; it must be one of {', '.join(RULES)}.")
    found = [np.zeros((0, 2), np.int64)]
    for piece in pieces:
        lattice = candidates(piece[0], dimensions, footprint, step, padding)
        if lattice.columns and lattice.rows:
            found.append(lattice.points(accepted(piece, lattice, footprint[0], rule)))
    return np.concatenate(found)


def accepted(piece: Sequence[np.ndarray], lattice: Lattice, side: int, rule: str) -> np.ndarray:
    """Return ``[columns, rows]`` bool: the patches that CLAM's rule finds to belong to a piece.

    Parameters
    ----------
    piece : its outline and holes, ``[n, 2]`` whole numbers, level-0 pixels.
    lattice : corners of the patches.
    side : of a patch in level-0 pixels.
    rule : see :func:`contour_grid`.
    """
    outline, *holes = piece
    chosen = RULES[rule](outline, lattice, side)
    centres = lattice.doubled().shifted(side, side)  # the centre may be at half a pixel
    for hole in holes:
        chosen &= ~strictly_inside(2 * hole.astype(np.int64), centres)
    return chosen


def candidates(
    outline: np.ndarray,
    dimensions: tuple[int, int],
    footprint: tuple[int, int],
    step: tuple[int, int],
    padding: bool,
) -> Lattice:
    """Return the corners of all patches that CLAM considers for a piece; see `contour_grid`."""
    first, stop = outline.min(axis=0).astype(int), outline.max(axis=0).astype(int) + 1
    if not padding:
        stop = np.minimum(stop, np.array(dimensions) - footprint + 1)
    columns, rows = (
        len(range(first[axis], stop[axis], step[axis])) for axis in (0, 1)
    )  # none where stop is before first
    return Lattice(int(first[0]), int(first[1]), *step, columns, rows)


def _corner(outline: np.ndarray, lattice: Lattice, side: int) -> np.ndarray:
    return inside(outline, lattice)


def _centre(outline: np.ndarray, lattice: Lattice, side: int) -> np.ndarray:
    return inside(outline, lattice.shifted(side // 2, side // 2))


def _any_of_four(outline: np.ndarray, lattice: Lattice, side: int) -> np.ndarray:
    return np.logical_or.reduce([inside(outline, moved) for moved in _four(lattice, side)])


def _all_of_four(outline: np.ndarray, lattice: Lattice, side: int) -> np.ndarray:
    return np.logical_and.reduce([inside(outline, moved) for moved in _four(lattice, side)])


def _four(lattice: Lattice, side: int) -> list[Lattice]:
    half, quarter = side // 2, side // 2 // 2
    near, far = half - quarter, half + quarter
    return [lattice.shifted(dx, dy) for dx in (near, far) for dy in (near, far)]


RULES: dict[str, Callable[[np.ndarray, Lattice, int], np.ndarray]] = {
    "basic": _corner,
    "center": _centre,
    "four_pt": _any_of_four,
    "four_pt_hard": _all_of_four,
}


def inside(ring: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return ``[columns, rows]`` bool: which points are in a polygon or on its border.

    Parameters
    ----------
    ring : ``[n, 2]`` whole numbers, closed by its last edge; it may cross itself (even-odd rule).
    lattice : the points.
    """
    interior, border = _fill(ring, lattice)
    return interior | border


def strictly_inside(ring: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return ``[columns, rows]`` bool: which points are in a polygon and not on its border."""
    interior, border = _fill(ring, lattice)
    return interior & ~border


def _fill(ring: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Return the interior (by the even-odd rule) and the border, each ``[columns, rows]`` bool.

    Points on the border may or may not be in the interior.
    """
    start = ring.astype(np.int64)
    end = np.roll(start, -1, axis=0)
    swap = start[:, 1] > end[:, 1]
    low, high = np.where(swap[:, None], end, start), np.where(swap[:, None], start, end)
    # lattice lines that each edge meets, its ends included
    first = -((lattice.y - low[:, 1]) // lattice.step_y)
    last = (high[:, 1] - lattice.y) // lattice.step_y
    first, last = first.clip(min=0), last.clip(max=lattice.rows - 1)
    meets = np.flatnonzero(first <= last)
    low, high, first, last = low[meets], high[meets], first[meets], last[meets]
    level = low[:, 1] == high[:, 1]
    border = _level_edges(low[level], high[level], first[level], lattice)
    low, high, first, last = low[~level], high[~level], first[~level], last[~level]
    count = last - first + 1
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - first, count)
    y = lattice.y + row * lattice.step_y
    (x1, y1), (x2, y2) = low[edge].T, high[edge].T
    # where the edge crosses that line: the whole part of x, and whether that is all of it
    x, rest = np.divmod((y - y1) * (x2 - x1), y2 - y1)
    column, beside = np.divmod(x + x1 - lattice.x, lattice.step_x)
    on_point = (rest == 0) & (beside == 0) & (column >= 0) & (column < lattice.columns)
    border[column[on_point], row[on_point]] = True
    # an edge turns over the points to its right; its upper end belongs to the next edge
    turns = y < y2
    behind = (column[turns] + 1).clip(0, lattice.columns)
    crossings = _count(behind, row[turns], lattice)
    return np.cumsum(crossings, axis=0)[:-1] % 2 == 1, border


def _level_edges(
    left: np.ndarray, right: np.ndarray, row: np.ndarray, lattice: Lattice
) -> np.ndarray:
    """Return ``[columns, rows]`` bool: the points that level edges on lattice lines cover."""
    if not len(left):
        return np.zeros((lattice.columns, lattice.rows), bool)
    x1, x2 = np.minimum(left[:, 0], right[:, 0]), np.maximum(left[:, 0], right[:, 0])
    first = -((lattice.x - x1) // lattice.step_x)
    behind = (x2 - lattice.x) // lattice.step_x + 1
    covered = _count(first.clip(0, lattice.columns), row, lattice)
    covered -= _count(behind.clip(0, lattice.columns), row, lattice)
    return np.cumsum(covered, axis=0)[:-1] > 0


def _count(column: np.ndarray, row: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return how often each (column, row) is named, ``[columns + 1, rows]`` int64."""
    shape = lattice.columns + 1, lattice.rows
    return np.bincount(column * lattice.rows + row, minlength=shape[0] * shape[1]).reshape(shape)
