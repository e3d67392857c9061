"""Some of the instances of each bag, for training on bags that are large."""

from collections.abc import Callable

import numpy as np
import torch

from mil.bags import Bag, select
from mil.nn.grid_positions import grid_positions
from mil.seeds import seed_for


def random_instances(bag: Bag, most: int, seed: int, *draw: object) -> Bag:
    """Return bags of at most ``most`` instances each, all with equal odds, in their order.

    What is drawn depends on the seed, on the name of a bag (its number, where it has none) and on
    ``draw``, such as the epoch; not on the other bags.
    """

    def chosen(start: int, size: int, random: np.random.Generator) -> np.ndarray:
        return random.choice(size, most, replace=False)

    return _some(bag, most, seed, draw, chosen)


def grid_instances(bag: Bag, most: int, seed: int, *draw: object) -> Bag:
    """Return bags of at most ``most`` instances each, spread evenly over their slides.

    Instances are lined up along a curve that keeps neighbours together (Morton's), the curve is cut
    into ``most`` runs of equal length, and one instance of each run is drawn. Arguments are those
    of ``random_instances``.

    Raises
    ------
    mil.bags.BagError : bags without coordinates.
    """
    cells = grid_positions(bag, "grid_instances").cpu().numpy()

    def chosen(start: int, size: int, random: np.random.Generator) -> np.ndarray:
        along = np.argsort(_morton(cells[start : start + size]), kind="stable")
        ends = np.arange(most + 1) * size // most  # [most + 1]; no run is empty, as most < size
        return along[random.integers(ends[:-1], ends[1:])]

    return _some(bag, most, seed, draw, chosen)


def _some(
    bag: Bag,
    most: int,
    seed: int,
    draw: tuple[object, ...],
    chosen: Callable[[int, int, np.random.Generator], np.ndarray],
) -> Bag:
    names = bag.ids or range(len(bag))
    rows = []
    for name, start, size in zip(names, bag.offsets.tolist(), bag.sizes, strict=False):
        inside = np.arange(size)
        if size > most:
            random = np.random.default_rng(seed_for(seed, "instances", name, *draw))
            inside = np.sort(chosen(start, size, random))
        rows.append(start + inside)
    kept = torch.from_numpy(np.concatenate(rows)).to(bag.features.device)
    return select(bag, kept)


def _morton(cells: np.ndarray) -> np.ndarray:
    """Return the place of cells [n, 2] along Morton's curve: the bits of row and column in turn."""
    place = np.zeros(len(cells), np.int64)
    for bit in range(int(cells.max()).bit_length()):
        for axis in (0, 1):
            place |= ((cells[:, axis] >> bit) & 1) << (2 * bit + 1 - axis)
    return place
