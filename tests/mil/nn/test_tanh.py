"""The hyperbolic tangent: its values, its gradients, and that it makes no second tensor."""

import torch

from mil.nn.tanh import Tanh


def test_values_are_those_of_tanh_at_every_size():
    ends = torch.tensor([0.0, 1e-30, 1e-4, 88.0, 1e4, torch.inf])
    x = torch.cat([torch.linspace(-12, 12, 100_001), ends, -ends])
    expected = x.double().tanh()
    assert (Tanh()(x.clone()).double() - expected).abs().max() < 2e-7
    assert Tanh()(torch.tensor([torch.nan])).isnan().all()


def test_the_argument_is_overwritten():
    x = torch.randn(5, 3)
    assert Tanh()(x).data_ptr() == x.data_ptr()


def test_gradients_are_those_of_tanh_twice_over():
    x = torch.randn(40, requires_grad=True)
    found, expected = [], []
    for y, kept in ((Tanh()(x * 1), found), (x.tanh(), expected)):
        (once,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (twice,) = torch.autograd.grad(once.sum(), x)
        kept += [once, twice]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_other_precisions_are_pytorchs_own():
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.randn(100).to(dtype)
        assert Tanh()(x.clone()).equal(x.tanh())
