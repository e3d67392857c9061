"""Layers that do not keep what is cheap to make, against the same layers that do."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from mil.nn.remade import gelu_linear, normed_linear


def norm_of(width):
    norm = nn.LayerNorm(width)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.fixture(params=[1 << 21, 20], ids=["at once", "some rows at a time"], autouse=True)
def runs(request, monkeypatch):
    monkeypatch.setattr("mil.nn.remade.VALUES", request.param)


@pytest.mark.parametrize("learns", [True, False], ids=["of a layer", "of features"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 3])
def test_a_layer_behind_a_norm(learns, bias, padding):
    """(exact): the norm's weights inside the layer's, gradients of all."""
    torch.manual_seed(0)
    norm, layer = norm_of(6).double(), nn.Linear(6, 4, bias).double()
    x = torch.randn(11, 6, dtype=torch.float64, requires_grad=learns)
    wanted = [*([x] if learns else []), *norm.parameters(), *layer.parameters()]
    literal = torch.cat([torch.zeros(padding, 4, dtype=torch.float64), layer(norm(x))])
    found = normed_linear(x, norm, layer, padding)
    torch.testing.assert_close(found, literal)
    slopes = [torch.autograd.grad((y**3).sum(), wanted) for y in (found, literal)]
    torch.testing.assert_close(*slopes)


def test_a_layer_behind_gelu():
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4).double(), torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    literal, found = layer(gelu(x)), gelu_linear(x, layer)
    torch.testing.assert_close(found, literal)
    slopes = [torch.autograd.grad((y**3).sum(), [x, *layer.parameters()]) for y in (found, literal)]
    torch.testing.assert_close(*slopes)


def test_only_what_comes_in_is_kept():
    norm, layer, x = norm_of(6), nn.Linear(6, 4), torch.randn(11, 6, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        for step in (lambda: normed_linear(x, norm, layer), lambda: gelu_linear(x, layer)):
            step()
    assert {t.data_ptr() for t in kept if len(t) == len(x)} == {x.data_ptr()}


@pytest.mark.parametrize("come", [torch.float32, torch.bfloat16])
def test_mixed_precision_as_without(come):
    """What comes out is in half precision, gradients of weights are whole and near those of all."""
    torch.manual_seed(0)
    norm, layer = norm_of(6), nn.Linear(6, 4)
    given = torch.randn(200, 6).to(come)
    for step, plain in (
        (lambda x: normed_linear(x, norm, layer), lambda x: layer(norm(x))),
        (lambda x: gelu_linear(x, layer), lambda x: layer(gelu(x))),
    ):
        found = []
        for one in (step, plain):
            x = given.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16):
                y = one(x)
            assert y.dtype == torch.bfloat16
            slopes = torch.autograd.grad(y.float().square().sum(), [x, layer.weight, layer.bias])
            assert [s.dtype for s in slopes] == [come, torch.float32, torch.float32]
            found.append((y, *slopes))
        for ours, theirs in zip(*found, strict=True):
            assert (ours.float() - theirs.float()).norm() < 0.02 * theirs.float().norm()
