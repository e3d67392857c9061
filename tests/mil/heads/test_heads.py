"""Properties of every registered head of survival."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mil.heads import HEADS, build_head, head_names
from mil.heads.base import Labels
from mil.registry import UnknownNameError

WIDTH = 12
TIME = np.array([3.0, 8.0, 20.0, 11.0, 6.0, 15.0, 2.0, 9.0])
EVENT = np.array([1, 1, 0, 1, 1, 1, 1, 0])
LABELS = Labels.of(TIME, EVENT)


def make(name, **options):
    return build_head(name, WIDTH, HEADS.find(name).fit(TIME, EVENT), **options)


@pytest.fixture(params=head_names("survival"))
def head(request):
    torch.manual_seed(0)
    return make(request.param).eval()


@pytest.fixture
def vector():
    return torch.randn(len(TIME), WIDTH, generator=torch.Generator().manual_seed(3))


def noise_for(head, draws=5):
    return head.noise(len(TIME), draws, torch.Generator().manual_seed(4))


def test_gradient_reaches_every_parameter_and_the_embedding(head, vector):
    head.train()
    vector.requires_grad_(True)
    head.loss(head(vector, noise_for(head)), LABELS).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None] == []
    assert vector.grad.abs().sum() > 0


def test_prediction_is_on_the_scale_of_the_table_and_finite(head, vector):
    prediction = head.predict(head(vector, noise_for(head)).detach())
    assert prediction.risk.shape == (8,)
    assert np.isfinite(prediction.risk).all()
    assert len(prediction.draws) == 8
    if prediction.time is not None:
        assert (prediction.time >= 0).all()
        assert np.isfinite(prediction.time).all()


def test_a_patient_is_predicted_without_the_others(head, vector):
    noise = noise_for(head)
    together = head.predict(head(vector, noise).detach())
    alone = [
        head.predict(head(v[None], z[None]).detach()) for v, z in zip(vector, noise, strict=True)
    ]
    np.testing.assert_allclose(together.risk, [one.risk[0] for one in alone], rtol=1e-5)


def test_saved_and_loaded_is_the_same(head, vector, tmp_path):
    noise = noise_for(head)
    save_file(head.state_dict(), tmp_path / "h.safetensors")
    other = make(head.name).eval()
    other.load_state_dict(load_file(tmp_path / "h.safetensors"))
    torch.testing.assert_close(other(vector, noise), head(vector, noise), rtol=0, atol=0)


def test_descending_the_loss_orders_the_patients(head):
    """With the time itself as embedding, every head must learn that longer is less risk."""
    torch.manual_seed(1)
    vector = torch.zeros(8, WIDTH)
    vector[:, 0] = torch.from_numpy(TIME / 20)
    vector[:, 1] = 1
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        head.loss(head(vector, noise_for(head, 1)), LABELS).backward()
        optimiser.step()
    risk = head.predict(head(vector, noise_for(head, 30)).detach()).risk
    assert np.corrcoef(risk, TIME)[0, 1] < -0.7


def test_ranking_is_added_to_the_loss_and_not_monitored(head, vector):
    ranked = make(head.name, ranking_weight=0.5, ranking_margin=0.3).eval()
    ranked.load_state_dict(head.state_dict())
    output = head(vector, noise_for(head, 1)).detach()
    risk = head.risk(output)
    pairs = [
        max(0.0, 0.3 - (risk[i] - risk[j]).item())
        for i in range(8)
        for j in range(8)
        if EVENT[i] and TIME[i] < TIME[j]
    ]
    expected = head.loss(output, LABELS).item() + 0.5 * np.mean(pairs)
    assert ranked.loss(output, LABELS).item() == pytest.approx(expected, rel=1e-5)
    assert ranked.compares_patients
    assert ranked.monitored(output, LABELS).item() == head.monitored(output, LABELS).item()


def test_risk_of_the_loss_orders_patients_as_the_prediction_does(head, vector):
    output = head(vector, noise_for(head, 1)).detach()
    order = np.argsort(head.predict(output).risk)
    np.testing.assert_array_equal(np.argsort(head.risk(output).numpy()), order)


def test_collapsed_predictions_are_told(head, vector):
    same = head(vector[:1].expand(8, -1), noise_for(head)[:1].expand(8, -1, -1)).detach()
    assert any("collapsed" in sentence for sentence in head.complaints(head.predict(same)))


def test_misspelt_names_are_sentences():
    with pytest.raises(UnknownNameError, match="did you mean cox"):
        build_head("coxx", 8, {})
    with pytest.raises(UnknownNameError, match=r"no option 'noize'; did you mean noise"):
        build_head("adversarial", 8, {"t_ref": 1.0}, noize="0-1")


def test_cox_needs_somebody_else_at_risk():
    head = make("cox")
    assert head.usable(LABELS)
    assert not head.usable(Labels.of(np.array([5.0]), np.array([1])))
    assert not head.usable(Labels.of(np.array([5.0, 3.0]), np.array([1, 0])))  # event is last
    assert head.usable(Labels.of(np.array([5.0, 3.0]), np.array([0, 1])))
    assert not head.usable(Labels.of(np.array([5.0, 3.0]), np.array([0, 0])))


def test_bins_come_from_training_events_and_give_times():
    head = make("nll")
    inner = np.quantile(TIME[EVENT == 1], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(head.edges, [0, *inner, np.inf])
    hazards = torch.tensor([[0.2, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.9]])
    prediction = head.predict(torch.logit(hazards))
    np.testing.assert_allclose(prediction.survival[0], [0.8, 0.4, 0.2, 0.1], rtol=1e-5)
    b = head.edges
    # S falls from 0.8 to 0.4 between the first two inner edges; it meets 0.5 at 3/4 of it
    assert prediction.time[0] == pytest.approx(b[1] + 0.75 * (b[2] - b[1]), rel=1e-5)
    assert prediction.time[1] == pytest.approx(b[3])  # never below one half before the last edge
    mean = 0.9 * b[1] + 0.6 * (b[2] - b[1]) + 0.3 * (b[3] - b[2])
    assert prediction.risk[0] == pytest.approx(-mean, rel=1e-5)
    assert prediction.risk[0] > prediction.risk[1]


def test_time_is_the_adversarial_head_without_noise_and_opponent(vector):
    """Same layers, same loss, same time; but no draws, which would be copies of one."""
    options = {"output": "sigmoid", "norm": "l2", "alpha": 0.4, "gamma": 0.1}
    time = make("time", **options).eval()
    silent = make("adversarial", noise="0-0", adversarial_weight=0.0, **options).eval()
    ours, theirs = time.state_dict(), silent.state_dict()
    assert [p.shape for p in ours.values()] == [p.shape for p in theirs.values()]
    time.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    assert time.opponent(24) is silent.opponent(24) is None
    output = time(vector, noise_for(time))
    torch.testing.assert_close(output, silent(vector, noise_for(silent)))
    assert time.loss(output, LABELS).item() == silent.loss(output, LABELS).item()
    prediction = time.predict(output.detach())
    np.testing.assert_allclose(prediction.time, output.detach()[:, 0] * 20, rtol=1e-6)
    assert prediction.draws.shape == (8, 0)


def test_time_with_alpha_1_is_the_squared_error_of_events():
    """The original's regression on regions."""
    head = make("time", norm="l2", alpha=1.0)
    output = torch.linspace(0.1, 0.9, 8)[:, None]
    expected = (EVENT * (output[:, 0].numpy() - TIME / 20) ** 2).mean()
    assert head.loss(output, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_legacy_loss_of_cox_does_not_know_who_had_the_event():
    """Moving an event to another patient leaves the legacy gradient as it is; ours changes."""
    eta = torch.linspace(-1, 1, 8)
    moved = EVENT.copy()
    moved[[0, 2]] = moved[[2, 0]]
    slopes = {}
    for legacy in (False, True):
        for name, event in (("own", EVENT), ("moved", moved)):
            x = eta.clone().requires_grad_()
            make("cox", legacy_loss=legacy).loss(x, Labels.of(TIME, event)).backward()
            slopes[legacy, name] = x.grad
    torch.testing.assert_close(slopes[True, "own"], slopes[True, "moved"], rtol=0, atol=0)
    assert not torch.allclose(slopes[False, "own"], slopes[False, "moved"])


def test_legacy_loss_of_cox_is_monitored_with_events_of_their_own_patients():
    head = make("cox", legacy_loss=True)
    labels = Labels.of([5, 3, 9, 3], [1, 0, 1, 1])
    output = torch.tensor([0.3, 0.1, -0.2, 0.5])
    assert head.monitored(output, labels).item() == pytest.approx(0.391972, abs=1e-6)
    assert head.loss(output, labels).item() != pytest.approx(0.391972, abs=1e-3)


def test_legacy_labels_of_nll_swap_events_and_censored_patients(vector):
    legacy = make("nll", legacy_labels=True).eval()
    right = make("nll").eval()
    output = right(vector, noise_for(right)).detach()
    swapped = Labels.of(TIME, 1 - EVENT)
    assert legacy.loss(output, LABELS).item() == right.loss(output, swapped).item()
    assert legacy.monitored(output, LABELS).item() == right.monitored(output, swapped).item()
    assert legacy.loss(output, LABELS).item() != right.loss(output, LABELS).item()
