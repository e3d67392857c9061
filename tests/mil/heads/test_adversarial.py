"""AdvMIL's generator head: noise, sampling, scale."""

import numpy as np
import pytest
import torch
from examples import example_bag

from mil.heads import build_head
from mil.heads.base import HeadError, Labels
from mil.models import build_model
from mil.network import Network
from mil.noise import noise_bank

FITTED = {"t_ref": 40.0}


def generator(noise="0-1", **options):
    torch.manual_seed(0)
    model = build_model("abmil", 24)
    return Network(
        model, build_head("adversarial", 384, FITTED, noise=noise, **options), None
    ).eval()


@pytest.mark.parametrize("noise", ["0-1", "1-0", "1-1", "0-0", "1-0-1"])
def test_draws_of_one_pass_are_those_of_full_passes(noise):
    network, bag = generator(noise), example_bag(48)
    z = network.head.noise(1, 6, torch.Generator().manual_seed(5))
    together, _ = network(bag, z)
    alone = torch.cat([network(bag, z[:, s : s + 1])[0] for s in range(z.shape[1])], 1)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-7)
    assert together.shape == (1, 1 if noise == "0-0" else 6)
    if noise != "0-0":
        assert together.std() > 0


def test_any_number_of_draws_takes_one_pass_of_the_model():
    network, bag = generator(), example_bag(48)
    passes = []
    network.model.register_forward_hook(lambda *_: passes.append(1))
    output, _ = network(bag, network.head.noise(1, 200, torch.Generator().manual_seed(0)))
    assert output.shape == (1, 200)
    assert len(passes) == 1


@pytest.mark.parametrize(
    ("noise", "inputs", "outputs"),
    [
        ("0-0", [384, 192], [192, 1]),
        ("0-1", [384, 384], [192, 1]),
        ("1-0", [768, 192], [192, 1]),
        ("1-1", [768, 384], [192, 1]),
        ("1-0-1", [768, 192, 192], [192, 96, 1]),
    ],
)
def test_noise_doubles_the_input_of_its_layer(noise, inputs, outputs):
    layers = generator(noise).head.layers
    assert [layer.in_features for layer in layers] == inputs
    assert [layer.out_features for layer in layers] == outputs
    assert sum(generator(noise).head.noise_widths) == sum(
        width for width, flag in zip((384, 192, 96), noise.split("-"), strict=False) if flag == "1"
    )


def test_noise_at_the_last_layer_shifts_every_patient_alike():
    """With 0-1 the logit is w_h h + w_z z + b: distributions differ by a shift only."""
    head = generator("0-1").head
    vectors = torch.randn(2, 384, generator=torch.Generator().manual_seed(2))
    z = head.noise(1, 9, torch.Generator().manual_seed(3)).expand(2, -1, -1)
    logits = head.logits(vectors, z)
    torch.testing.assert_close(logits[0] - logits[0].mean(), logits[1] - logits[1].mean())
    spread = head.layers[-1].weight[0, 192:].norm() / 12**0.5
    many = head.logits(vectors[:1], head.noise(1, 4000, torch.Generator().manual_seed(4)))
    assert many.std().item() == pytest.approx(spread.item(), rel=0.05)


def test_layer_norm_stands_between_layer_and_relu():
    head = generator(layer_norm=True).head
    h, z = torch.randn(1, 384), head.noise(1, 1, torch.Generator().manual_seed(0))
    hidden = torch.nn.functional.layer_norm(head.layers[0](h), [192]).relu()
    expected = head.layers[1](torch.cat([hidden, z[0]], 1))
    torch.testing.assert_close(head.logits(h, z), expected)


def test_noise_has_its_distribution():
    head = generator().head
    uniform = head.noise(50, 40, torch.Generator().manual_seed(0))
    assert uniform.shape == (50, 40, 192)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.005)
    gaussian = generator(distribution="gaussian").head.noise(50, 40, torch.Generator())
    assert gaussian.std().item() == pytest.approx(1, abs=0.01)


def test_fixed_noise_depends_on_the_patient_only():
    head = generator().head
    both = noise_bank(head, ["A", "B"], 5, seed=1, purpose="x")
    torch.testing.assert_close(noise_bank(head, ["B"], 5, seed=1, purpose="x")[0], both[1])
    torch.testing.assert_close(noise_bank(head, ["A"], 3, seed=1, purpose="x")[0], both[0, :3])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(noise_bank(head, ["A"], 5, seed=2, purpose="x")[0], both[0])


def test_median_is_the_lower_middle_draw_and_risk_is_minus_it():
    prediction = generator().head.predict(torch.tensor([[0.4, 0.1, 0.3, 0.2]]))
    assert prediction.time[0] == pytest.approx(0.2 * 40)
    assert prediction.risk[0] == pytest.approx(-8)
    np.testing.assert_allclose(prediction.draws[0], [16, 4, 12, 8], rtol=1e-6)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("softplus", np.log1p(np.exp(2.0))),
        ("sigmoid", 1 / (1 + np.exp(-2.0))),
        ("exp", np.exp(2)),
        ("identity", 2.0),
    ],
)
def test_output_scale(output, expected):
    head = generator(output=output).head
    with torch.no_grad():
        for p in head.parameters():
            p.zero_()
        head.layers[-1].bias.fill_(2.0)
    times = head(torch.zeros(1, 384), head.noise(1, 3, torch.Generator()))
    assert times[0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_loss_is_the_regression_of_the_specification():
    head = generator().head
    labels = Labels.of(40 * np.array([0.3, 0.4, 1, 0.7]), np.array([1, 0, 1, 0]))
    times = torch.tensor([[0.2], [0.5], [0.9], [0.4]])
    assert head.loss(times, labels).item() == pytest.approx(0.125, abs=1e-6)


def test_collapsed_spread_and_bounds_are_told():
    head = generator(output="sigmoid").head
    spread = torch.linspace(0.2, 0.8, 30).expand(5, -1) * torch.linspace(0.5, 1, 5)[:, None]
    assert head.complaints(head.predict(spread)) == []
    flat = torch.full((5, 30), 0.4) + torch.linspace(0, 0.1, 5)[:, None]
    assert any("hardly differ" in s for s in head.complaints(head.predict(flat)))
    high = spread.clone()
    high[:2] = 0.9999
    assert any("40% of the predicted times" in s for s in head.complaints(head.predict(high)))


def test_negative_times_are_told():
    head = generator(output="identity").head
    times = torch.linspace(-0.1, 0.9, 10)[:, None] * torch.ones(1, 5)
    assert any("10% of the predicted times are negative" in s for s in told(head, times))


def told(head, times):
    return head.complaints(head.predict(times))


def test_monitored_loss_is_of_the_median_at_full_weight_of_censored_patients():
    head = generator(alpha=1.0).head
    labels = Labels.of(40 * np.array([0.3, 0.4, 1, 0.7]), np.array([1, 0, 1, 0]))
    median = torch.tensor([[0.2], [0.5], [0.9], [0.4]])
    draws = torch.cat([median + 0.3, median, median - 0.1], 1)
    assert head.loss(median, labels).item() == pytest.approx(0.05, abs=1e-6)
    assert head.monitored(draws, labels).item() == pytest.approx(0.125, abs=1e-6)


SCORED = {"norm": "crps", "training_draws": 4}


def test_score_takes_all_draws_in_training_and_for_the_choice_of_the_epoch():
    """In training alpha takes weight from censored patients, in the choice it does not."""
    labels = Labels.of(40 * np.array([0.3, 0.4]), np.array([1, 0]))
    draws = torch.tensor([[0.2, 0.5, 0.9], [0.1, 0.3, 0.6]])
    event = (0.1 + 0.2 + 0.6) / 3 - (0.3 + 0.4 + 0.7) / 6  # pairs: 3 of them, twice, of 6; halved
    censored = (0.3 + 0.1 + 0.0) / 3 - (0.2 + 0.1 + 0.3) / 6  # the draw at 0.6 is cut off at 0.4
    head = generator(alpha=0.5, **SCORED).head
    assert head.loss(draws, labels).item() == pytest.approx((event + censored / 2) / 2, abs=1e-6)
    assert head.monitored(draws, labels).item() == pytest.approx((event + censored) / 2, abs=1e-6)
    plain = generator(training_draws=3).head
    errors = [0.1, 0.2, 0.6, 0.3, 0.1, 0.0]
    assert plain.loss(draws, labels).item() == pytest.approx(np.mean(errors), abs=1e-6)


def test_wrong_options_are_sentences():
    with pytest.raises(HeadError, match="discriminator_loss is 'bce-legacy'; it must be bce"):
        generator(discriminator_loss="bce-legacy")
    with pytest.raises(HeadError, match="discriminator_term is 'x'; it must be bag, time, none"):
        generator(discriminator_term="x")
    with pytest.raises(HeadError, match="noise is '0-2'; it must be zeros and ones"):
        generator("0-2")
    with pytest.raises(HeadError, match="output is 'relu'; it must be softplus, sigmoid, exp"):
        generator(output="relu")
    with pytest.raises(HeadError, match="norm is 'l3'; it must be l1, l2, crps"):
        generator(norm="l3")
    with pytest.raises(HeadError, match="norm is crps, but training_draws is 1; it compares"):
        generator(norm="crps")
    with pytest.raises(HeadError, match="noise is 0-0, so that there is one draw; give"):
        generator("0-0", **SCORED)
    with pytest.raises(HeadError, match=r"gamma is 0\.1; the score has no margin"):
        generator(gamma=0.1, **SCORED)
