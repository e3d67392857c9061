"""The order in which models of sequences take the instances of a bag."""

import torch
from torch import Tensor

from mil.bags import Bag
from mil.nn.grid_positions import grid_positions
from mil.nn.segments import segment_ids


def bag_cells(bag: Bag, model: str) -> Tensor:
    """Return bag, row and column [N, 3] int64 of every instance, see ``grid_positions``."""
    return torch.cat([segment_ids(bag.offsets).unsqueeze(1), grid_positions(bag, model)], 1)


def reading_order(bag: Bag, cells: Tensor) -> Tensor:
    """Return the instances [N] of each bag slide by slide, of each slide row by row.

    Instances of one cell stay in the order in which they come.
    """
    order = torch.arange(len(cells), device=cells.device)
    slide = cells.new_zeros(len(cells)) if bag.slide is None else bag.slide
    for key in (cells[:, 2], cells[:, 1], slide, cells[:, 0]):
        order = order[key[order].argsort(stable=True)]
    return order
