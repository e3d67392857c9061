"""VAEABMIL against the values of the authors' code, and what its scores mean."""

import math

import numpy as np
import pytest
import torch
from examples import example_bag, golden_input
from golden import golden, golden_parameters, renamed, take_over
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import Bag, pack
from mil.models import build_model
from mil.nn import autoencoder
from mil.nn.autoencoder import Autoencoder, divergence
from mil.problems import InputError

NAMES = {
    "classifier.module": "head",
    "feat_ext.encoder.net": "model.autoencoder.encoder",
    "feat_ext.decoder.net": "model.autoencoder.decoder",
    "pool.fc1.module": "model.pool.direction.0",
    "pool.fc2.weight": "model.pool.score.weight",
}


@pytest.mark.parametrize("variance", ["single", "diagonal"])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(variance, p, monkeypatch):
    case = next(one for one in golden("vaeabmil")["cases"] if one["covar_mode"] == variance)
    expected, near = case["expected"][f"x_{p}"], {"abs": 2e-6, "rel": 2e-7}
    module = nn.Module()
    module.model = build_model(
        "vaeabmil", 64, sizes="32-16", variance=variance, samples=3, attention=16
    )
    module.head = nn.Linear(16, 1)
    module.model.pool.score.register_parameter("bias", None)  # the original's has none
    take_over(module, renamed(golden_parameters(case["parameters"]), NAMES))
    noise = np.random.RandomState(400 + p).standard_normal((64, 16, 3)).transpose(0, 2, 1)
    noise = torch.from_numpy(noise.copy()) * math.exp(1e-7)  # they add 1e-7 to log s
    monkeypatch.setattr(torch.Tensor, "normal_", lambda self: self.copy_(noise))

    x = torch.from_numpy(golden_input(p, 64))
    bag = Bag.single(x)
    monkeypatch.setattr(autoencoder, "ROWS", 10)  # blocks of any size
    mean, log_std = module.model.autoencoder.encode(x)
    assert mean[0, :5].tolist() == pytest.approx(expected["posterior_mean_row0_first5"], **near)
    first = log_std.expand(-1, 16)[0, :5].tolist()
    assert first == pytest.approx(expected["posterior_logstd_row0_first5"], **near)
    module.train()
    embedding = module.model(bag)
    logit = module.head(embedding.vector)[0, 0]
    assert logit.item() == pytest.approx(expected["logit_3_samples"], **near)
    raw = embedding.scores[:5].tolist()
    assert raw == pytest.approx(expected["attention_raw_first5"], **near)
    for name in ("nll", "kl"):
        assert embedding.penalties[name].item() == pytest.approx(expected[name], **near)
    likelihood = module.model.autoencoder.log_likelihood(x, noise)[:3].tolist()
    known = expected["log_px_first3_ours_prior_logstd0"]
    assert likelihood == pytest.approx(known, rel=1e-6)
    wider = expected["log_px_first3_original_prior_logstd1"]  # the prior of the authors' code
    assert likelihood != pytest.approx(wider, rel=1e-3)
    losses = [binary_cross_entropy_with_logits(logit, logit.new_full((), y)) for y in (0.0, 1.0)]
    assert losses[0].item() == pytest.approx(expected["bag_loss_label0"], **near)
    assert losses[1].item() == pytest.approx(expected["bag_loss_label1"], **near)
    (losses[1] + sum(embedding.penalties.values()).sum()).backward()
    found = dict(module.named_parameters())
    for name, norm in expected["grad_norms_bag1_plus_nll_plus_kl"].items():
        gradient = found[next(iter(renamed({name: 0}, NAMES)))].grad.norm().item()
        assert gradient == pytest.approx(norm, abs=2e-6, rel=1e-6), name
    module.eval()
    evaluated = module.head(module.model(bag).vector).item()
    assert evaluated == pytest.approx(expected["logit_posterior_mean"], **near)


@pytest.mark.parametrize("variance", ["single", "diagonal"])
def test_the_divergence_is_that_of_the_distributions(variance):
    torch.manual_seed(0)
    mean, log_std = Autoencoder(6, [5, 3], variance).encode(torch.randn(4, 6))
    of = torch.distributions.Normal(mean, log_std.exp().expand(-1, 3))
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    expected = torch.distributions.kl_divergence(of, prior).sum(1)
    torch.testing.assert_close(divergence(mean, log_std), expected)


def test_the_likelihood_of_a_linear_decoder_is_known():
    """x = a z + noise of standard deviation s has the variance a^2 + s^2."""
    model = Autoencoder(1, [1], "single").double()
    with torch.no_grad():
        for p, value in zip(
            model.parameters(),
            ([[0.4], [0.0]], [0.0, -0.2], [[1.5], [0.0]], [0.3, math.log(0.8)]),
            strict=True,
        ):
            p.copy_(torch.tensor(value))
    x = torch.linspace(-2, 2, 5, dtype=torch.float64).unsqueeze(1)
    noise = torch.randn(1, 20_000, 1, generator=torch.Generator().manual_seed(0)).double()
    exact = torch.distributions.Normal(0.3, math.hypot(1.5, 0.8)).log_prob(x[:, 0])
    torch.testing.assert_close(model.log_likelihood(x, noise).exp(), exact.exp(), rtol=0.05, atol=0)


@pytest.mark.parametrize("variance", ["single", "diagonal"])
def test_standard_deviations_are_bounded(variance):
    """Features far from all that was learnt would have infinite ones, and an infinite loss."""
    torch.manual_seed(0)
    model = Autoencoder(6, [5, 3], variance)
    x = 1e5 * torch.randn(40, 6)
    for moments, given in ((model.encode, x), (model.decode, x[:, :3])):
        log_std = moments(given)[1]
        assert log_std.abs().max() == 10


@pytest.mark.parametrize("variance", ["single", "none"])
def test_what_was_not_learnt_is_stranger(variance):
    torch.manual_seed(0)
    model = build_model("vaeabmil", 24, sizes="8-4", variance=variance)
    bags = [example_bag(32, seed=0), example_bag(16, seed=1)]
    bags[1].features[3] *= 20
    together = pack(bags)
    strange, of_bags = model.out_of_distribution(together, draws=8)
    assert strange.argmax() == 32 + 3
    torch.testing.assert_close(of_bags[1], strange[32:].mean())
    _, high = model.out_of_distribution(together, draws=8, quantile=0.95)
    assert of_bags[1] < high[1] < strange[35]
    alone, _ = model.out_of_distribution(bags[1], draws=8)
    torch.testing.assert_close(alone, strange[32:])
    assert not strange.requires_grad


def test_without_chance_the_penalty_is_the_squared_error():
    torch.manual_seed(0)
    model, bag = build_model("vaeabmil", 24, sizes="8", variance="none").train(), example_bag(16)
    embedding = model(bag)
    assert list(embedding.penalties) == ["nll"]
    decoded, _ = model.autoencoder.decode(embedding.pooled)
    error = (bag.features - decoded).square().sum(1).mean() / 2
    torch.testing.assert_close(embedding.penalties["nll"][0], error)


def test_wrong_options_are_sentences():
    with pytest.raises(InputError, match=r"sizes is '32-'; it must be whole numbers"):
        build_model("vaeabmil", 8, sizes="32-")
    with pytest.raises(InputError, match=r"variance is 'singel'; did you mean single"):
        build_model("vaeabmil", 8, variance="singel")
