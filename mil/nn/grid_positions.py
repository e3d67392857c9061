"""Where the instances of a bag lie on the grid of patches of their slides."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mil.bags import Bag, BagError

GAP = 8
"""Empty columns between slides of a bag: more than the windows of models on grids see across."""


def grid_positions(bag: Bag, model: str) -> Tensor:
    """Return row and column [N, 2] int64 of every instance, from 0 in each bag.

    The step of a slide's grid is the commonest distance between neighbours in a row or a column,
    whatever the size of its patches. The slides of a bag lie side by side.

    Raises
    ------
    BagError : the bag has no coordinates; ``model`` is named as the one that reads them.
    """
    if bag.coords is None:
        who = f"patient {bag.ids[0]}" if bag.ids else "the bag"
        raise BagError([f"{who}: no coordinates, which model {model} reads. Load them (coords)."])
    coords = bag.coords.cpu().numpy()
    slides = np.zeros(len(coords), np.int64) if bag.slide is None else bag.slide.cpu().numpy()
    cells = np.empty_like(coords)
    ends = bag.offsets.tolist()
    for start, end in pairwise(ends):
        column = 0
        for slide in np.unique(slides[start:end]):
            rows = start + np.flatnonzero(slides[start:end] == slide)
            cells[rows] = _cells(coords[rows])
            cells[rows, 1] += column
            column = cells[rows, 1].max() + 1 + GAP
    return torch.from_numpy(cells).to(bag.features.device)


def _cells(coords: np.ndarray) -> np.ndarray:
    """Return row and column [n, 2] of corners (x, y) [n, 2], from 0."""
    corner = coords - coords.min(axis=0)
    return np.rint(corner[:, ::-1] / _step(corner)).astype(np.int64)


def _step(coords: np.ndarray) -> float:
    """Return the commonest step along a row or a column; 1 where there is a single corner."""
    steps = []
    for along, across in ((0, 1), (1, 0)):
        ordered = coords[np.lexsort((coords[:, along], coords[:, across]))]
        difference = np.diff(ordered, axis=0)
        in_line = (difference[:, across] == 0) & (difference[:, along] > 0)
        steps.append(difference[in_line, along])
    distances = np.sort(np.concatenate(steps))
    if len(distances):
        # Of a step that is no whole number of pixels, corners are rounded and distances differ by 1
        first = np.searchsorted(distances, distances)
        end = np.searchsorted(distances, distances + np.minimum(1.5, distances / 2))
        most = np.argmax(end - first)
        return float(distances[first[most] : end[most]].mean())
    apart = coords[coords > 0]  # no two share a row or a column
    return float(apart.min()) if len(apart) else 1.0
