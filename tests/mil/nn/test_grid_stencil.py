"""Convolutions on cells that are there against PyTorch's on the whole map."""

import pytest
import torch
from torch.nn.functional import conv2d

from mil.nn.grid_stencil import convolution, stencil, window_cells


def scene(seed=0, width=3):
    """Two bags' cells on maps of 9 x 7, some of them without an instance."""
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, width, 9, 7, generator=random, dtype=torch.float64)
    there = torch.rand(2, 9, 7, generator=random) < 0.6
    cells = there.nonzero()
    cells = cells[torch.randperm(len(cells), generator=random)]
    x = maps[cells[:, 0], :, cells[:, 1], cells[:, 2]]
    return maps * there.unsqueeze(1), cells, x


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_stencil_is_a_depthwise_convolution(kernel):
    maps, cells, x = scene()
    weight = torch.randn(3, kernel, kernel, dtype=torch.float64, requires_grad=True)
    x.requires_grad_(), maps.requires_grad_()
    y = stencil(x, weight, window_cells(cells, cells, kernel))
    whole = conv2d(maps, weight.unsqueeze(1), padding=kernel // 2, groups=3)
    expected = whole[cells[:, 0], :, cells[:, 1], cells[:, 2]]
    torch.testing.assert_close(y, expected)
    found = torch.autograd.grad(y.square().sum(), (x, weight))
    of_map, of_weight = torch.autograd.grad(expected.square().sum(), (maps, weight))
    torch.testing.assert_close(found[0], of_map[cells[:, 0], :, cells[:, 1], cells[:, 2]])
    torch.testing.assert_close(found[1], of_weight)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2), (5, 4), (7, 1)])
def test_convolution_is_that_of_the_whole_map(kernel, stride):
    maps, cells, x = scene()
    weight = torch.randn(4, 3, kernel, kernel, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(3, kernel, kernel, dtype=torch.float64, requires_grad=True)
    x.requires_grad_(), maps.requires_grad_()
    whole = conv2d(maps, weight * scale, padding=kernel // 2, stride=stride)
    centres = torch.ones_like(whole[:, 0]).nonzero()  # all of them
    y = convolution(x, weight, scale, window_cells(cells, centres, kernel, stride))
    expected = whole.permute(0, 2, 3, 1).reshape(len(centres), 4)
    torch.testing.assert_close(y, expected)
    found = torch.autograd.grad(y.square().sum(), (x, weight, scale))
    of_map, *others = torch.autograd.grad(expected.square().sum(), (maps, weight, scale))
    torch.testing.assert_close(found[0], of_map[cells[:, 0], :, cells[:, 1], cells[:, 2]])
    torch.testing.assert_close(found[1:], tuple(others))


def test_a_place_that_no_window_has_learns_nothing():
    """A single cell: the weight of all places but the middle has no gradient."""
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    windows = window_cells(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3).long(), 3)
    convolution(torch.ones(1, 3), weight, torch.ones(3, 3, 3), windows).sum().backward()
    middle = torch.zeros(3, 3)
    middle[1, 1] = 1
    torch.testing.assert_close(weight.grad, middle.expand(4, 3, 3, 3))


def test_half_precision_is_added_up_in_single():
    _, cells, x = scene(width=16)
    windows = window_cells(cells, cells, 3)
    weight, scale = torch.randn(8, 16, 3, 3), torch.ones(16, 3, 3)
    exact = convolution(x.float(), weight, scale, windows)
    with torch.autocast("cpu", torch.bfloat16):
        low = convolution(x.float(), weight, scale, windows)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.2)
