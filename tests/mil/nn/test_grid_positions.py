"""Rows and columns from level-0 coordinates."""

import pytest
import torch

from mil.bags import Bag, BagError, pack
from mil.nn.grid_positions import GAP, grid_positions

CELLS = torch.tensor([[0, 0], [0, 1], [0, 3], [1, 1], [2, 0]])  # row, column; with a hole


def bag(step, corner=(5000, 300), **others):
    coords = CELLS.flip(1) * step + torch.tensor(corner)
    return Bag.single(torch.zeros(5, 2), "P7", coords=coords, **others)


@pytest.mark.parametrize("step", [1, 256, 512, 1023])
def test_the_step_is_read_whatever_the_patches(step):
    """A slide of 40x tiled for 20x has steps of twice the size of its patches."""
    assert grid_positions(bag(step), "setmil").tolist() == CELLS.tolist()


def test_rounded_steps():
    """A step of 100.37 pixels, over 400 of which rounding to 100 would go astray."""
    cells = torch.cartesian_prod(torch.arange(3), torch.arange(400))
    corners = (cells.flip(1) * 100.37 + 5000).round().long()
    one = Bag.single(torch.zeros(1200, 2), coords=corners)
    assert grid_positions(one, "setmil").tolist() == cells.tolist()


def test_every_bag_starts_at_0_and_slides_lie_side_by_side():
    two = Bag.single(
        torch.zeros(10, 2),
        coords=torch.cat([bag(256).coords, bag(512, (0, 0)).coords]),
        slide=torch.tensor([0] * 5 + [1] * 5),
    )
    beside = CELLS + torch.tensor([0, 3 + 1 + GAP])
    expected = [*CELLS.tolist(), *beside.tolist(), *CELLS.tolist()]
    one = bag(64, slide=torch.zeros(5, dtype=torch.int64))
    assert grid_positions(pack([two, one]), "setmil").tolist() == expected


def test_one_instance_and_no_coordinates():
    one = Bag.single(torch.zeros(1, 2), coords=torch.tensor([[70, 90]]))
    assert grid_positions(one, "setmil").tolist() == [[0, 0]]
    with pytest.raises(BagError, match="patient P7: no coordinates, which model setmil reads"):
        grid_positions(Bag.single(torch.zeros(1, 2), "P7"), "setmil")
