"""Which instances of a bag are neighbours: on the grid of patches, in space, or among features.

Every function returns edges [2, E] int64, source then target, in rows of the packed bag; none
joins an instance to itself, or instances of different bags or, but for features, slides.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mil.bags import Bag, BagError
from mil.graphs import edges as listed_edges
from mil.neighbours import latent_neighbours, spatial_neighbours
from mil.nn.grid_positions import GAP, grid_positions
from mil.nn.segments import segment_ids
from mil.problems import InputError

FOUR, EIGHT = 1.0, 1.5
"""Radii in steps of the grid: the neighbours along rows and columns, and those along diagonals."""


def grid_edges(bag: Bag, radius: float = EIGHT) -> Tensor:
    """Join instances that are at most ``radius`` steps of the grid apart, in both directions.

    Cells are sorted by one number each and looked up at every shift of the radius by binary search:
    the edges that a KD-tree finds, in less time. The step is read from coordinates, so
    that patches read at half the slide's power are neighbours too.

    Parameters
    ----------
    radius : 1 for 4 neighbours, 1.5 for 8, or more, up to 8.

    Raises
    ------
    mil.bags.BagError : bags without coordinates.
    mil.problems.InputError : a radius that is no step, or reaches another slide.
    """
    if not 1 <= radius <= GAP:
        raise InputError([f"radius is {radius}; it must be from 1 to {GAP} steps of the grid."])
    cells = grid_positions(bag, "grid_edges")  # [N, 2]
    reach = int(radius)
    rows, width = (cells.max(dim=0).values + 1 + reach).tolist()  # past these another bag begins
    keys = (cells[:, 0] + segment_ids(bag.offsets) * rows) * width + cells[:, 1]
    places, cell, count = np.unique(keys.cpu().numpy(), return_inverse=True, return_counts=True)
    pairs = [_shifted(places, shift) for shift in _shifts(reach, radius, width)]
    edges = _instances(np.concatenate(pairs, axis=1), cell, count)
    return torch.from_numpy(edges).to(bag.features.device)


def nearest_edges(bag: Bag, k: int = 8) -> Tensor:
    """Join each instance to its ``k`` nearest in space: it is the source, as in stored graphs.

    Raises
    ------
    mil.bags.BagError : bags without coordinates.
    """
    return _by_slide(bag, "nearest_edges", lambda xy: listed_edges(spatial_neighbours(xy, k)))


def radius_edges(bag: Bag, radius: float) -> Tensor:
    """Join instances at most ``radius`` level-0 pixels apart, in both directions.

    Raises
    ------
    mil.bags.BagError : bags without coordinates.
    """
    from scipy.spatial import cKDTree

    def within(xy: np.ndarray) -> np.ndarray:
        return _both(cKDTree(xy).query_pairs(radius, output_type="ndarray").T)

    return _by_slide(bag, "radius_edges", within)


def delaunay_edges(bag: Bag) -> Tensor:
    """Join the corners of every triangle of Delaunay's triangulation, in both directions.

    Instances on one line are joined along it, and those in one place to the first of them.

    Raises
    ------
    mil.bags.BagError : bags without coordinates.
    """
    return _by_slide(bag, "delaunay_edges", _triangulated)


def feature_edges(bag: Bag, k: int = 8) -> Tensor:
    """Join each instance, as the source, to the ``k`` of its bag with the most similar features.

    Similar is by cosine; slides of a bag are compared with each other.
    """
    unit = normalize(bag.features.float(), dim=1).cpu().numpy()
    edges = [
        start + listed_edges(latent_neighbours(unit[start:end], k))
        for start, end in pairwise(bag.offsets.tolist())
    ]
    return torch.from_numpy(np.concatenate(edges, axis=1)).to(bag.features.device)


def _shifts(reach: int, radius: float, width: int) -> Iterator[int]:
    """Yield 0 and, of every shift of the radius and its opposite, the one forward in keys."""
    for down in range(reach + 1):
        for right in range(-reach, reach + 1):
            shift = down * width + right
            if shift >= 0 and down**2 + right**2 <= radius**2:
                yield shift


def _shifted(places: np.ndarray, shift: int) -> np.ndarray:
    """Return pairs [2, P] of places, numbers of ascending keys, that are ``shift`` apart."""
    wanted = places + shift
    found = np.searchsorted(places, wanted).clip(max=len(places) - 1)
    there = np.flatnonzero(places[found] == wanted)
    return np.stack([there, found[there]])


def _instances(pairs: np.ndarray, cell: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return edges [2, E] in both directions among the instances of pairs of cells [2, P].

    Parameters
    ----------
    cell : [N] of every instance.
    count : instances of every cell.
    """
    order = np.argsort(cell, kind="stable")
    first, (one, other) = count.cumsum() - count, pairs
    many = count[one] * count[other]
    pair = np.repeat(np.arange(len(many)), many)
    number = np.arange(len(pair)) - np.repeat(many.cumsum() - many, many)
    i = first[one][pair] + number // count[other][pair]
    j = first[other][pair] + number % count[other][pair]
    kept = i < j  # inside a cell each pair once, and none with itself; between cells all are
    edges = order[np.stack([i[kept], j[kept]])]
    return np.concatenate([edges, edges[::-1]], axis=1)


def _by_slide(bag: Bag, reader: str, join: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Return the edges that ``join`` makes of the coordinates [n, 2] of each slide of each bag."""
    if bag.coords is None:
        who = f"bag {bag.ids[0]}" if bag.ids else "the bag"
        raise BagError([f"{who}: no coordinates, which {reader} reads. Load them (coords)."])
    coords = bag.coords.cpu().numpy()
    slides = np.zeros(len(coords), np.int64) if bag.slide is None else bag.slide.cpu().numpy()
    edges = []
    for start, end in pairwise(bag.offsets.tolist()):
        for slide in np.unique(slides[start:end]):
            rows = start + np.flatnonzero(slides[start:end] == slide)
            edges.append(rows[join(coords[rows])])
    return torch.from_numpy(np.concatenate(edges, axis=1)).to(bag.features.device)


def _both(pairs: np.ndarray) -> np.ndarray:
    """Return pairs [2, E] in both directions, each once."""
    return np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1)


def _triangulated(xy: np.ndarray) -> np.ndarray:
    """Return the edges [2, E] of Delaunay's triangulation of points [n, 2]."""
    from scipy.spatial import Delaunay, QhullError

    places, first, place = np.unique(xy, axis=0, return_index=True, return_inverse=True)
    try:
        triangles = Delaunay(places).simplices
        pairs = np.concatenate([triangles[:, [i, (i + 1) % 3]] for i in range(3)])
    except (QhullError, ValueError):  # fewer than three, or all on a line: sorted, they follow it
        pairs = np.stack([np.arange(len(places) - 1), np.arange(1, len(places))], axis=1)
    same = np.stack([first[place.ravel()], np.arange(len(xy))])
    joined = np.concatenate([first[pairs.T], same[:, same[0] != same[1]]], axis=1)
    return _both(joined)
