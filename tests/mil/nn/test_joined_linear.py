"""A linear layer on parts against the same on all of them side by side."""

import pytest
import torch

from mil.nn import joined_linear
from mil.nn.joined_linear import JoinedLinear


@pytest.mark.parametrize("columns", [0, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_a_sum_of_products_is_the_product_of_all(columns, bias, monkeypatch):
    """(exact): values and gradients; the first part, as features, needs none."""
    monkeypatch.setattr(joined_linear, "COLUMNS", columns)
    torch.manual_seed(0)
    layer = JoinedLinear([2, 3, 4], 4, bias=bias).double()
    parts = [torch.randn(6, width).double() for width in (2, 3, 4)]
    for part in parts[1:]:
        part.requires_grad_()
    learnt = [*parts[1:], *layer.parameters()]
    literal = torch.cat(parts, 1) @ layer.weight.T + (layer.bias if bias else 0)
    found = layer(parts)
    torch.testing.assert_close(found, literal)
    slopes = [torch.autograd.grad(y.square().sum(), learnt) for y in (found, literal)]
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_half_precision_keeps_its_kind(monkeypatch):
    monkeypatch.setattr(joined_linear, "COLUMNS", 0)
    layer, parts = JoinedLinear([2, 3], 4), [torch.randn(6, 2), torch.randn(6, 3)]
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(parts)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), layer(parts), rtol=0.05, atol=0.05)


def test_gradients_in_half_precision_reach_the_parameters_whole(monkeypatch):
    monkeypatch.setattr(joined_linear, "COLUMNS", 0)
    torch.manual_seed(0)
    layer, parts = JoinedLinear([2, 3], 4), [torch.randn(6, 2), torch.randn(6, 3)]
    slopes = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = layer(parts)
        slopes.append(torch.autograd.grad(y.float().square().sum(), layer.parameters()))
    for half, single in zip(*slopes, strict=True):
        assert half.dtype == torch.float32
        assert (half - single).norm() < 0.02 * single.norm()
