"""One 7 x 7 kernel against the three convolutions of the paper."""

import pytest
import torch

from mil.nn.ppeg import PPEG


@pytest.fixture
def ppeg():
    torch.manual_seed(0)
    return PPEG(4).double()


def literal(ppeg, image):
    """Map [1, H, rows, columns]: itself and three convolutions."""
    return image + sum(convolution(image) for convolution in ppeg.convolutions)


@pytest.mark.parametrize("side", [1, 2, 6, 9])
def test_a_square_map(ppeg, side):
    x = torch.randn(side * side, 4, dtype=torch.float64)
    expected = literal(ppeg, x.T.view(1, 4, side, side))[0].flatten(1).T
    torch.testing.assert_close(ppeg(x, side), expected)


def test_instances_where_they_are(ppeg):
    """Cells without an instance are zeros of the map."""
    random = torch.Generator().manual_seed(1)
    there = torch.rand(8, 11, generator=random) < 0.5
    cells = there.nonzero()
    x = torch.randn(len(cells), 4, dtype=torch.float64)
    image = torch.zeros(1, 4, 8, 11, dtype=torch.float64)
    image[0, :, cells[:, 0], cells[:, 1]] = x.T
    expected = literal(ppeg, image)[0, :, cells[:, 0], cells[:, 1]].T
    bag = torch.zeros(len(cells), 1, dtype=torch.int64)
    torch.testing.assert_close(ppeg.on_grid(x, torch.cat([bag, cells], 1)), expected)


def test_instances_of_one_cell_are_their_mean_to_others(ppeg):
    x = torch.randn(3, 4, dtype=torch.float64)
    cells = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]])
    y = ppeg.on_grid(x, cells)
    mean = torch.stack([(x[0] + x[2]) / 2, x[1]])
    alone = ppeg.on_grid(mean, cells[:2])
    torch.testing.assert_close(y[1], alone[1])
    torch.testing.assert_close(y[[0, 2]], x[[0, 2]] + alone[0] - mean[0])


def test_bags_have_maps_of_their_own(ppeg):
    x = torch.randn(2, 4, dtype=torch.float64)
    y = ppeg.on_grid(x, torch.tensor([[0, 0, 0], [1, 0, 1]]))
    alone = torch.zeros(1, 3, dtype=torch.int64)
    for i in range(2):
        torch.testing.assert_close(y[i : i + 1], ppeg.on_grid(x[i : i + 1], alone))
