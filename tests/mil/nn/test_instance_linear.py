"""The layer on features by oneDNN: where it is taken, and that it is PyTorch's layer there."""

import pytest
import torch
from torch.nn.functional import linear

from mil.nn import instance_linear
from mil.nn.instance_linear import InstanceLinear

SIZES = (2100, 128, 64)
"""N, D and H, large enough for it."""


@pytest.fixture
def taken(monkeypatch):
    """How often oneDNN's product was asked for."""
    if instance_linear.ONEDNN is None:
        pytest.skip("this CPU has no AVX-512, or this PyTorch no such product of oneDNN")
    calls, operator = [], instance_linear.ONEDNN

    def counted(*given):
        calls.append(given[0].shape)
        return operator(*given)

    monkeypatch.setattr(instance_linear, "ONEDNN", counted)
    return calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients_are_those_of_the_linear_layer(bias, threads, taken):
    n, d, h = SIZES
    torch.manual_seed(0)
    layer, x = InstanceLinear(d, h, bias=bias), torch.randn(n, d)
    exact = [p.detach().double().requires_grad_() for p in layer.parameters()]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, expected = layer(x), linear(x.double(), *exact)
        slope = torch.randn(n, h)
        of_found = torch.autograd.grad(found, [*layer.parameters()], slope)
        of_expected = torch.autograd.grad(expected, exact, slope.double())
        with torch.no_grad():
            assert layer(x).equal(found)  # the same bits
    finally:
        torch.set_num_threads(before)
    assert taken == [x.shape] * 2
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_a_bag_has_the_same_bits_alone_and_packed(taken):
    n, d, h = SIZES
    layer, x = InstanceLinear(d, h), torch.randn(n, d)
    both = layer(torch.cat([x, x.flip(0)]))
    assert both[:n].equal(layer(x))
    assert both[n:].equal(layer(x.flip(0)))
    assert len(taken) == 3


def test_frozen_parameters_get_no_gradient(taken):
    n, d, h = SIZES
    layer = InstanceLinear(d, h).requires_grad_(False)
    assert not layer(torch.randn(n, d)).requires_grad
    assert len(taken) == 1


def test_what_is_not_for_it_is_left_to_pytorch(taken):
    n, d, h = SIZES
    layer, x = InstanceLinear(d, h), torch.randn(n, d)
    learnt = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(layer(learnt).sum(), learnt)
    torch.testing.assert_close(grad, layer.weight.sum(0).expand(n, d))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        layer(x)
    layer(x[:100])  # too few
    InstanceLinear(d, 2)(x)  # columns, too
    layer(x.view(2, -1, d))
    InstanceLinear(d, h).double()(x.double())
    assert not taken


def test_without_the_product_the_layer_is_pytorchs(monkeypatch):
    """(exact): another CPU, or a PyTorch whose operator has another form."""
    monkeypatch.setattr(instance_linear, "ONEDNN", None)
    n, d, h = SIZES
    layer, x = InstanceLinear(d, h), torch.randn(n, d)
    assert layer(x).equal(linear(x, layer.weight, layer.bias))


def test_another_form_of_the_operator_and_other_cpus_are_left_alone(monkeypatch, taken):
    class Changed:
        class default:
            _schema = "mkldnn::_linear_pointwise(Tensor X, Tensor W) -> Tensor Y"

    with monkeypatch.context() as other:
        other.setattr(torch.ops.mkldnn, "_linear_pointwise", Changed)
        assert instance_linear._onednn() is None
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert instance_linear._onednn() is None
