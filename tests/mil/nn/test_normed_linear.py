"""A layer that does not keep what its norm makes, against the same that does."""

import pytest
import torch
from torch import nn

from mil.nn.normed_linear import VALUES, normed_linear


@pytest.fixture(params=[1 << 21, 20], ids=["at once", "some rows at a time"], autouse=True)
def runs(request, monkeypatch):
    monkeypatch.setitem(VALUES, "cpu", request.param)


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = nn.LayerNorm(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("learns", [True, False], ids=["of a layer", "of features"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 3])
def test_it_is_the_layer_of_the_norm(norm, learns, bias, padding):
    """(exact): the norm's weights inside the layer's, gradients of all."""
    norm, layer = norm.double(), nn.Linear(6, 4, bias).double()
    x = torch.randn(11, 6, dtype=torch.float64, requires_grad=learns)
    wanted = [*([x] if learns else []), *norm.parameters(), *layer.parameters()]
    literal = torch.cat([torch.zeros(padding, 4, dtype=torch.float64), layer(norm(x))])
    found = normed_linear(x, norm, layer, padding)
    torch.testing.assert_close(found, literal)
    slopes = [torch.autograd.grad((y**3).sum(), wanted) for y in (found, literal)]
    torch.testing.assert_close(*slopes)


def test_only_what_comes_in_is_kept(norm):
    layer, x = nn.Linear(6, 4), torch.randn(11, 6, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        normed_linear(x, norm, layer)
    assert {t.data_ptr() for t in kept if len(t) == len(x)} == {x.data_ptr()}


@pytest.mark.parametrize("come", [torch.float32, torch.bfloat16])
def test_in_mixed_precision_gradients_are_whole(norm, come):
    """What comes out is in half precision, as of the same layers; gradients of weights are not."""
    layer, given = nn.Linear(6, 4), torch.randn(200, 6).to(come)
    found = []
    for step in (lambda x: normed_linear(x, norm, layer), lambda x: layer(norm(x))):
        x = given.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = step(x)
        assert y.dtype == torch.bfloat16
        wanted = [x, *norm.parameters(), *layer.parameters()]
        slopes = torch.autograd.grad(y.float().square().sum(), wanted)
        assert [s.dtype for s in slopes] == [come, *[torch.float32] * 4]
        found.append((y, *slopes))
    for ours, theirs in zip(*found, strict=True):
        assert (ours.float() - theirs.float()).norm() < 0.02 * theirs.float().norm()
