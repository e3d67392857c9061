"""Dropout of activations: how often, how large, how independent, and what gradient."""

import math

import pytest
import torch
from torch import nn

from mil.nn.attention import AttentionPool
from mil.nn.dropout import Dropout, ReLUDropout, SigmoidDropout

LAYERS = [(Dropout, torch.Tensor.clone), (ReLUDropout, torch.relu), (SigmoidDropout, torch.sigmoid)]
each_layer = pytest.mark.parametrize(("layer", "activation"), LAYERS)
N = 1 << 20


def rate_error(p, n=N):
    """Five standard deviations of a share of ``n``."""
    return 5 * math.sqrt(p * (1 - p) / n)


@each_layer
@pytest.mark.parametrize("p", [0.1, 0.25, 0.4375, 0.6, 0.999])
def test_the_share_p_is_dropped_and_the_rest_scaled(layer, activation, p):
    torch.manual_seed(0)
    x = torch.rand(N // 256, 256) + 0.5  # no activation is 0 itself
    y = layer(p)(x)
    kept = y != 0
    assert (~kept).double().mean().item() == pytest.approx(p, abs=rate_error(p))
    torch.testing.assert_close(y[kept], activation(x)[kept] / (1 - p))


def test_masks_are_independent_between_calls_columns_and_neighbours():
    """Shares of pairs dropped together, among them all four that one random number decides on."""
    torch.manual_seed(1)
    p, layer = 0.25, ReLUDropout(0.25)
    a, b = (layer(torch.ones(N // 64, 64)).eq(0) for _ in range(2))
    pairs = [(a, b), (a[1:], a[:-1])]
    pairs += [(a[:, i::4], a[:, j::4]) for i in range(4) for j in range(i)]
    for one, other in pairs:
        share = (one & other).double().mean().item()
        assert share == pytest.approx(p * p, abs=rate_error(p * p, one.numel()))
    for places in (a.double().mean(0), b.double().mean(0)):
        assert places.sub(p).abs().max() < rate_error(p, len(a))


@each_layer
@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 5), (0, 4)])
def test_the_gradient_is_that_of_the_same_mask(layer, activation, shape):
    x = torch.randn(shape, dtype=torch.double, requires_grad=True)
    dropped = layer(0.4)

    def with_one_mask(x):
        torch.manual_seed(2)
        return dropped(x)

    if x.numel():
        assert torch.autograd.gradcheck(with_one_mask, x)
    mask = with_one_mask(torch.ones_like(x)).ne(0)
    y = with_one_mask(x)
    torch.testing.assert_close(y, activation(x) * mask / 0.6)
    weights = torch.randn(shape, dtype=torch.double)
    expected = torch.autograd.grad((activation(x) * mask / 0.6 * weights).sum(), x)
    torch.testing.assert_close(torch.autograd.grad((y * weights).sum(), x), expected)


@each_layer
def test_torchs_generator_decides(layer, activation):
    x = torch.randn(64, 64)
    dropped = layer(0.5)
    torch.manual_seed(3)
    first, second = dropped(x), dropped(x)
    torch.manual_seed(3)
    with torch.random.fork_rng([]):
        assert torch.equal(dropped(x), first)
    assert torch.equal(dropped(x), first)
    assert torch.equal(dropped(x), second)
    assert not torch.equal(first, second)


@each_layer
def test_it_is_the_activation_in_evaluation_and_without_dropout(layer, activation):
    x = torch.randn(33, 7)
    state = torch.get_rng_state()
    assert torch.equal(layer(0.5).eval()(x), activation(x))
    assert torch.equal(layer(0.0)(x), activation(x))
    assert torch.equal(torch.get_rng_state(), state)
    assert layer(1.0)(x).eq(0).all()


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_what_it_is(layer, activation, dtype):
    x = torch.rand(64, 64).add(0.5).to(dtype).requires_grad_()
    y = layer(0.25)(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    kept = y != 0
    assert kept.double().mean().item() == pytest.approx(0.75, abs=rate_error(0.25, kept.numel()))
    torch.testing.assert_close(y[kept], (activation(x) / 0.75)[kept])


@pytest.mark.parametrize("gated", [True, False])
def test_attention_scores_vary_as_with_dropout_on_each_factor(gated):
    """Mean and variance of a score over masks, against their closed form."""
    torch.manual_seed(4)
    p, width, draws = 0.25, 6, 100_000
    pool = AttentionPool(width, width, gated, dropout=p).double()
    x = torch.randn(1, width, dtype=torch.double)
    with torch.no_grad():
        factors = pool.direction[0](x).tanh()
        if gated:
            factors = factors * pool.gate[0](x).sigmoid()
        terms = (pool.score.weight * factors)[0]
        offsets = torch.tensor([0, draws])
        _, scores = pool(x.expand(draws, -1), offsets)
        kept = (1 - p) ** 2 if gated else 1 - p
        variance = (terms**2).sum().item() * (1 - kept) / kept
        expected = terms.sum().item() + pool.score.bias.item()
        error = 5 * math.sqrt(variance / draws)
        assert scores.mean().item() == pytest.approx(expected, abs=error)
        assert scores.var().item() == pytest.approx(variance, rel=0.03)
        assert pool.eval()(x, torch.tensor([0, 1]))[1].item() == pytest.approx(expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_layer
def test_a_gpu_has_the_same_distribution(layer, activation):
    torch.manual_seed(5)
    x = (torch.rand(N // 256, 256, device="cuda") + 0.5).requires_grad_()
    y = layer(0.25)(x)
    kept = y != 0
    assert kept.double().mean().item() == pytest.approx(0.75, abs=rate_error(0.25))
    torch.testing.assert_close(y[kept], activation(x)[kept] / 0.75)


def test_layers_with_a_gradient_from_the_output_keep_no_mask():
    """What stays for the gradient is the output, which the next layer keeps anyway."""
    kept = []
    x = torch.randn(100, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = nn.Sequential(ReLUDropout(0.25), nn.Linear(8, 2))(x)
    large = {t.untyped_storage().data_ptr() for t in kept if t.shape == x.shape}
    assert len(large) == 1
    y.sum().backward()
