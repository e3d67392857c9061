"""Sequences to grids and back, against a literal loop."""

import pytest
import torch

from mil.bags import BagError
from mil.data import grid_to_sequence, sequence_to_grid

COORDS = torch.tensor([[[0, 1], [2, 0], [2, 0], [-1, -1]], [[1, 2], [0, 0], [-1, -1], [-1, -1]]])
MASK = COORDS[..., 0] >= 0


def test_duplicates_are_averaged_and_padding_is_skipped():
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    x[~MASK] = torch.nan
    grid = sequence_to_grid(x, COORDS, MASK)
    expected = torch.zeros(2, 3, 3, 3)
    expected[0, 0, 1] = x[0, 0]
    expected[0, 2, 0] = (x[0, 1] + x[0, 2]) / 2
    expected[1, 1, 2] = x[1, 0]
    expected[1, 0, 0] = x[1, 1]
    torch.testing.assert_close(grid, expected)
    back = grid_to_sequence(grid, COORDS, MASK)
    torch.testing.assert_close(back[0, 0], x[0, 0])
    torch.testing.assert_close(back[0, 1], back[0, 2])
    assert (back[~MASK] == 0).all()


def test_padding_at_the_first_cell_does_not_overwrite_it():
    coords = torch.where(MASK.unsqueeze(-1), COORDS, 0)  # as torchmil pads them
    x = torch.randn(2, 4, 3)
    assert torch.equal(sequence_to_grid(x, coords, MASK), sequence_to_grid(x, COORDS, MASK))


def test_gradients_and_whole_bags():
    x = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    coords = COORDS[:1, :3]
    assert torch.autograd.gradcheck(lambda x: sequence_to_grid(x, coords), x)
    with pytest.raises(BagError, match="negative row or column"):
        sequence_to_grid(torch.zeros(2, 4, 3), COORDS)
