"""Losses against golden values, closed forms, plain loops and a second library."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import norm, wasserstein_distance

from mil.survival.losses import (
    assign_bins,
    cox_loss,
    crps_loss,
    discriminator_loss,
    fit_bins,
    generator_loss,
    hazards_to_survival,
    legacy_cox_loss,
    nll_loss,
    ranking_loss,
    recon_loss,
)

T = torch.tensor
DOUBLE = torch.float64


def gradcheck(function, x):
    return torch.autograd.gradcheck(function, x.clone().requires_grad_())


@pytest.fixture
def cohort():
    """Twelve patients, with ties among events and between an event and a censored patient."""
    generator = torch.Generator().manual_seed(3)
    time = T([1.0, 2, 2, 2, 3, 3, 4, 5, 5, 6, 7, 7], dtype=DOUBLE)
    event = T([1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1])
    order = torch.randperm(12, generator=generator)
    eta = torch.randn(12, generator=generator, dtype=DOUBLE)
    return eta, time[order], event[order]


# Cox ---------------------------------------------------------------------------------------------


def test_cox_golden():
    loss = cox_loss(T([0.3, 0.1, -0.2, 0.5]), T([5.0, 3, 9, 3]), T([1, 0, 1, 1]))
    # The original divides by its 4 patients, not by the 3 events.
    assert loss.item() * 3 / 4 == pytest.approx(0.391972, abs=1e-6)


@pytest.mark.parametrize(("ties", "total"), [("efron", 9.638923), ("breslow", 9.917471)])
def test_cox_of_the_fixture(known, ties, total):
    t, e, r = (T(known[key], dtype=DOUBLE) for key in "ter")
    # The plain loop gives 9.6389219: the last digit of Efron's printed value is off by one.
    assert cox_loss(r, t, e, ties=ties).item() * e.sum().item() == pytest.approx(total, abs=2e-6)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_equals_a_plain_loop(cohort, ties):
    eta, time, event = (x.numpy() for x in cohort)
    total = 0.0
    for u in np.unique(time[event == 1]):
        at_risk = np.exp(eta[time >= u]).sum()
        tied = (time == u) & (event == 1)
        for k in range(tied.sum()):
            share = k / tied.sum() if ties == "efron" else 0.0
            total += np.log(at_risk - share * np.exp(eta[tied]).sum())
        total -= eta[tied].sum()
    expected = total / event.sum()
    assert cox_loss(*cohort, ties=ties).item() == pytest.approx(expected, abs=1e-12)


def test_cox_is_the_likelihood_that_lifelines_maximises():
    lifelines = pytest.importorskip("lifelines")
    import pandas as pd

    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    time = np.ceil(rng.exponential(8 * np.exp(-0.7 * x))) + 1  # whole numbers: many ties
    event = (rng.random(80) < 0.6).astype(int)
    fit = lifelines.CoxPHFitter().fit(pd.DataFrame({"x": x, "t": time, "e": event}), "t", "e")
    beta = T(fit.params_["x"], dtype=DOUBLE, requires_grad=True)
    loss = cox_loss(beta * T(x), T(time), T(event))
    assert -loss.item() * event.sum() == pytest.approx(fit.log_likelihood_, abs=1e-8)
    loss.backward()
    assert abs(beta.grad.item()) < 1e-5  # the fitted coefficient is where the slope is zero


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_is_the_likelihood_that_scikit_survival_maximises(ties):
    linear = pytest.importorskip("sksurv.linear_model")
    from sksurv.util import Surv

    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 2))
    time = np.ceil(rng.exponential(6 * np.exp(-x @ [0.6, -0.4]))) + 1  # many ties
    event = rng.random(90) < 0.6
    fit = linear.CoxPHSurvivalAnalysis(ties=ties, tol=1e-12).fit(x, Surv.from_arrays(event, time))
    beta = torch.tensor(fit.coef_, requires_grad=True)
    cox_loss(T(x) @ beta, T(time), T(event), ties=ties).backward()
    assert beta.grad.abs().max() < 1e-8
    other = {"efron": "breslow", "breslow": "efron"}[ties]
    slope = torch.autograd.grad(cox_loss(T(x) @ beta, T(time), T(event), ties=other), beta)[0]
    assert slope.abs().max() > 1e-4  # the ties matter here


@pytest.mark.filterwarnings("ignore:Ties in")
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_and_its_slope_equal_torchsurv(cohort, ties):
    cox = pytest.importorskip("torchsurv.loss.cox")
    eta, time, event = (x.float() for x in cohort)  # with ties it takes float32 only
    seen = event.bool()
    x = eta.requires_grad_()
    ours = cox_loss(x, time, event, ties=ties) * event.sum()  # it has no mean over events
    theirs = cox.neg_partial_log_likelihood(x, seen, time, ties_method=ties, reduction="sum")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    slopes = [torch.autograd.grad(loss, x)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-5)


def test_legacy_cox_golden():
    loss = legacy_cox_loss(
        T([0.3, 0.1, -0.2, 0.5]), T([5.0, 3, 9, 3]), T([1, 0, 1, 1]), paired=True
    )
    assert loss.item() == pytest.approx(0.391972, abs=1e-6)


def test_legacy_cox_unpaired_is_a_column_of_events_against_a_row_of_patients(cohort):
    eta, time, event = cohort
    term = [
        eta[i] - torch.logsumexp(eta[time >= time[i]], 0) for i in range(len(eta))
    ]  # none above 10
    table = event[:, None] * torch.stack(term)[None, :]  # [n, n]
    loss = legacy_cox_loss(eta, time, event, paired=False)
    assert loss.item() == pytest.approx(-table.mean().item(), abs=1e-12)


def test_legacy_cox_has_no_gradient_where_it_is_cut_off():
    eta = T([12.0, 0.0], dtype=DOUBLE, requires_grad=True)
    legacy_cox_loss(eta, T([2.0, 1.0]), T([0, 1]), paired=True).backward()
    assert eta.grad[0] == 0


@pytest.mark.parametrize("paired", [True, False])
def test_legacy_cox_gradient(cohort, paired):
    eta, time, event = cohort
    assert gradcheck(lambda x: legacy_cox_loss(x, time, event, paired), eta)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_gradient(cohort, ties):
    eta, time, event = cohort
    assert gradcheck(lambda x: cox_loss(x, time, event, ties=ties), eta)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("size", [200.0, 5000.0])
def test_cox_is_finite_for_extreme_risks(cohort, ties, size):
    eta, time, event = cohort
    eta = (size * torch.sign(eta)).to(torch.float32).requires_grad_()
    loss = cox_loss(eta, time, event, ties=ties)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(eta.grad).all()


def test_cox_of_one_patient_is_zero():
    assert cox_loss(T([7.0]), T([3.0]), T([1])).item() == 0


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_ignores_a_shift_and_the_order(cohort, ties):
    eta, time, event = cohort
    loss = cox_loss(eta, time, event, ties=ties)
    flipped = cox_loss(eta.flip(0) + 5, time.flip(0), event.flip(0), ties=ties)
    torch.testing.assert_close(loss, flipped, rtol=1e-12, atol=1e-12)


# Discrete time -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "expected"), [(0, 1.418561), (0.5, 1.344179)])
def test_nll_golden(alpha, expected):
    hazards = T([[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.2, 0.2], [0.05, 0.1, 0.6, 0.3]])
    loss = nll_loss(torch.logit(hazards), T([2, 1, 3]), T([1, 0, 1]), alpha=alpha)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("alpha", "expected"), [(0, 1.020395), (0.4, 0.895090)])
def test_nll_of_the_fixture(alpha, expected):
    logits = T([[-2, -1, -0.5, 0], [-1, -1, 0, 1]], dtype=DOUBLE)
    loss = nll_loss(logits, T([2, 1]), T([1, 0]), alpha=alpha)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("convention", ["end", "start"])
def test_nll_equals_a_plain_loop(convention):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(20, 5, generator=generator, dtype=DOUBLE)
    y = torch.randint(0, 5, (20,), generator=generator)
    event = torch.randint(0, 2, (20,), generator=generator)
    total = 0.0
    for z, k, e in zip(logits.numpy(), y.tolist(), event.tolist(), strict=True):
        h = 1 / (1 + np.exp(-z))
        survival = [1.0, *np.cumprod(1 - h)]  # survival[k]: before bin k
        censored = survival[k + 1] if convention == "end" else survival[k]
        total -= np.log(survival[k] * h[k]) if e else 0.7 * np.log(censored)
    loss = nll_loss(logits, y, event, alpha=0.3, censor_convention=convention)
    assert loss.item() == pytest.approx(total / 20, abs=1e-12)


def test_nll_is_the_log_loss_of_scikit_learn_on_person_periods():
    """One yes or no for every patient and bin it lived to see (Singer and Willett, 1993)."""
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(30, 4, generator=generator, dtype=DOUBLE)
    y = torch.randint(0, 4, (30,), generator=generator)
    event = torch.randint(0, 2, (30,), generator=generator)
    answers, hazards = [], []
    for z, k, e in zip(logits.sigmoid().numpy(), y.tolist(), event.tolist(), strict=True):
        answers += [0] * k + [e]
        hazards += z[: k + 1].tolist()
    total = metrics.log_loss(answers, hazards, normalize=False)
    assert nll_loss(logits, y, event).item() == pytest.approx(total / 30, abs=1e-12)


def test_nll_is_least_at_the_kaplan_meier_estimate_of_lifelines():
    lifelines = pytest.importorskip("lifelines")
    generator = torch.Generator().manual_seed(5)
    y = torch.randint(0, 4, (200,), generator=generator)
    event = torch.randint(0, 2, (200,), generator=generator)
    fit = lifelines.KaplanMeierFitter().fit(y.numpy() + 1, event.numpy())
    survival = fit.survival_function_at_times([0, 1, 2, 3, 4]).to_numpy()
    hazards = T(1 - survival[1:] / survival[:-1], dtype=DOUBLE)
    logits = torch.logit(hazards).requires_grad_()
    nll_loss(logits.expand(200, -1), y, event).backward()
    assert logits.grad.abs().max() < 1e-12


def test_nll_gradient():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    y, event = T([0, 1, 2, 3, 3, 0]), T([1, 0, 1, 1, 0, 0])
    assert gradcheck(lambda z: nll_loss(z, y, event, alpha=0.2), logits)
    assert gradcheck(lambda z: nll_loss(z, y, event, censor_convention="start"), logits)


def test_nll_keeps_its_gradient_where_it_is_most_wrong():
    logits = torch.full((1, 4), -300.0, requires_grad=True)
    loss = nll_loss(logits, T([3]), T([1]))
    loss.backward()
    assert loss.item() == pytest.approx(300)
    assert logits.grad[0, 3].item() == pytest.approx(-1)


def test_hazards_become_survival():
    survival = hazards_to_survival(T([[0.5, 0.5, 0.2]], dtype=DOUBLE))
    torch.testing.assert_close(survival, T([[0.5, 0.25, 0.2]], dtype=DOUBLE))


def test_bins_hold_equally_many_events():
    time = np.arange(1.0, 41.0)
    event = np.arange(40) % 2  # events at the even times
    edges = fit_bins(time, event, 4)
    assert edges[0] == 0
    assert np.isinf(edges[-1])
    assert np.bincount(assign_bins(time[event == 1], edges)).tolist() == [5, 5, 5, 5]


def test_bins_depend_on_event_times_only():
    edges = fit_bins([1, 2, 3, 4, 100], [1, 1, 1, 1, 0], 2)
    assert edges.tolist() == [0, 2.5, np.inf]


def test_a_time_on_an_edge_goes_right():
    assert assign_bins([0.1, 2.5, 1e9], [0, 2.5, np.inf]).tolist() == [0, 1, 1]


def test_repeated_edges_are_merged_with_a_warning():
    with pytest.warns(UserWarning, match="Only 2 of 4 time bins"):
        edges = fit_bins([3, 3, 3, 3], [1, 1, 1, 1], 4)
    assert edges.tolist() == [0, 3, np.inf]


def test_bins_without_events_are_refused():
    with pytest.raises(ValueError, match="none of the 2 training patients"):
        fit_bins([1, 2], [0, 0], 4)


# Regression and ranking --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 0.125), ({"alpha": 0.5}, 0.0875), ({"norm": "l2"}, 0.0275)]
)
def test_recon_golden(options, expected):
    y, t, e = T([0.2, 0.5, 0.9, 0.4]), T([0.3, 0.4, 1.0, 0.7]), T([1, 0, 1, 0])
    assert recon_loss(y, t, e, **options).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("gamma", "expected"), [(0, 1.280190), (1, 1.480190)])
def test_recon_of_the_fixture(known, gamma, expected):
    t, e, m = (T(known[key], dtype=DOUBLE) for key in "tem")
    assert recon_loss(m, t, e, gamma=gamma).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_recon_gradient(cohort, norm):
    predicted, time, event = cohort  # no prediction sits on a kink
    assert gradcheck(lambda m: recon_loss(m, time, event, norm, 0.3, 0.5), predicted)


def test_recon_of_draws_is_the_mean_of_each(cohort):
    predicted, time, event = cohort
    draws = torch.stack([predicted, predicted + 2, predicted * 3], 1)
    each = [recon_loss(draw, time, event, "l2", 0.3, 0.5) for draw in draws.T]
    together = recon_loss(draws, time[:, None], event[:, None], "l2", 0.3, 0.5)
    torch.testing.assert_close(together, torch.stack(each).mean())


# Score of draws ----------------------------------------------------------------------------------


def integral(upto, function):
    """Return the integral of a function of the time from 0, by the midpoint rule."""
    step = upto / 200_000
    return function((np.arange(200_000) + 0.5) * step).sum() * step


def exact_draws(n=2000):
    """Return quantiles of a mixture of two peaks, and its distribution function."""
    grid = np.linspace(0, 20, 100_001)
    below = (norm.cdf(grid, 4, 0.5) + norm.cdf(grid, 9, 1)) / 2
    draws = np.interp((np.arange(n) + 0.5) / n, below, grid)
    return T(draws)[None], lambda u: (norm.cdf(u, 4, 0.5) + norm.cdf(u, 9, 1)) / 2


@pytest.mark.parametrize("time", [1.0, 4.2, 6.5, 11.0])
def test_score_is_the_integral_of_the_squared_error_of_the_distribution(time):
    """Of a censored patient only up to the time of censoring."""
    draws, below = exact_draws()
    seen = integral(20, lambda u: (below(u) - (u >= time)) ** 2)
    censored = integral(time, lambda u: below(u) ** 2)
    for event, expected in ((1, seen), (0, censored)):
        assert crps_loss(draws, T([time]), T([event])).item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("event", [1, 0])
def test_score_of_few_draws_is_without_bias(event):
    """The mean over all draws that there can be from three values is the score of these."""
    values, time = np.array([1.0, 3.0, 4.0]), 3.5
    pairs = T(np.array(list(product(values, values))))
    score = crps_loss(pairs, torch.full((9,), time), torch.full((9,), event))
    upto = 10 if event else time
    expected = integral(upto, lambda u: ((u[:, None] >= values).mean(1) - (u >= time) * event) ** 2)
    assert score.item() == pytest.approx(expected, abs=1e-4)


def test_score_equals_scoringrules(cohort):
    scoringrules = pytest.importorskip("scoringrules")
    draws = torch.randn(12, 7, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) + 4
    _, time, event = cohort
    of_events = scoringrules.crps_ensemble(time.numpy(), draws.numpy(), estimator="fair")
    cut = np.minimum(draws.numpy(), time.numpy()[:, None])
    of_censored = scoringrules.crps_ensemble(time.numpy(), cut, estimator="fair")
    for alpha in (0.0, 0.3):
        expected = np.where(event == 1, of_events, (1 - alpha) * of_censored).mean()
        assert crps_loss(draws, time, event, alpha).item() == pytest.approx(expected, abs=1e-12)


def test_score_gradient(cohort):
    _, time, event = cohort
    draws = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) + 4
    assert gradcheck(lambda y: crps_loss(y, time, event, 0.3), draws)


def test_the_score_is_least_at_the_distribution_and_the_error_at_its_median():
    """Draws that may move freely: of 100 patients with the same draws and times of two peaks."""
    generator = torch.Generator().manual_seed(0)
    peaks = torch.where(torch.arange(100) % 5 < 3, 0.3, 0.8)  # three of five early
    time = peaks + 0.02 * torch.randn(100, generator=generator)
    start = torch.rand(20, generator=generator)
    found = {}
    losses = {
        "crps": lambda y: crps_loss(y, time, torch.ones(100)),
        "l1": lambda y: recon_loss(y, time[:, None], torch.ones(100, 1)),
    }
    for name, loss in losses.items():
        draws = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([draws], lr=0.02)
        for _ in range(200):
            optimiser.zero_grad()
            loss(draws.expand(100, -1)).backward()
            optimiser.step()
        found[name] = draws.detach().numpy()
    assert wasserstein_distance(found["crps"], time.numpy()) < 0.03
    assert np.ptp(found["l1"]) < 0.03
    assert np.median(found["l1"]) == pytest.approx(time.median().item(), abs=0.02)


def test_ranking_golden():
    y, t, e = T([0.2, 0.5, 0.9, 0.4]), T([0.3, 0.4, 1.0, 0.7]), T([1, 0, 1, 0])
    assert ranking_loss(-y, t, e).item() == pytest.approx(0.6, abs=1e-6)


def test_ranking_of_the_fixture(known):
    t, e, r = (T(known[key], dtype=DOUBLE) for key in "ter")
    assert ranking_loss(r, t, e).item() == pytest.approx(0.444118, abs=1e-6)


@pytest.mark.parametrize("kind", ["hinge", "logistic"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_ranking_gradient(cohort, kind, norm):
    risk, time, event = cohort
    assert gradcheck(lambda r: ranking_loss(r, time, event, kind, 0.9, 0.5, norm), risk)


def test_logistic_ranking_of_one_pair():
    loss = ranking_loss(T([2.0, 0.0]), T([1.0, 2.0]), T([1, 0]), kind="logistic", scale=2.0)
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1.0)))


# Adversarial -------------------------------------------------------------------------------------

REAL, FAKE = T([0.3, -0.7], dtype=DOUBLE), T([-1, 0.5, 2], dtype=DOUBLE)
NONE = torch.zeros(0, dtype=DOUBLE)


@pytest.mark.parametrize(
    ("kind", "both", "fake_alone"),
    [
        ("bce_legacy", -0.809318, -1.638089),
        ("bce", 1.966859, None),
        ("hinge", 2.7, 1.5),
        ("wasserstein", 0.7, 0.5),
    ],
)
def test_discriminator_golden(kind, both, fake_alone):
    assert discriminator_loss(REAL, FAKE, kind).item() == pytest.approx(both, abs=1e-6)
    if fake_alone is not None:
        loss = discriminator_loss(NONE, FAKE, kind)
        assert loss.item() == pytest.approx(fake_alone, abs=1e-6)


def test_generator_golden():
    assert generator_loss(FAKE).item() == pytest.approx(-0.5)
    expected = np.mean(np.log1p(np.exp(-FAKE.numpy())))
    assert generator_loss(FAKE, "non_saturating").item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["bce", "bce_legacy", "hinge", "wasserstein"])
def test_discriminator_gradient(kind):
    assert gradcheck(lambda r: discriminator_loss(r, FAKE, kind), REAL)
    assert gradcheck(lambda f: discriminator_loss(REAL, f, kind), FAKE + 0.1)  # off the hinge


@pytest.mark.parametrize("kind", ["mean_logit", "non_saturating"])
def test_generator_gradient(kind):
    assert gradcheck(lambda f: generator_loss(f, kind), FAKE)


@pytest.mark.parametrize(("kind", "slope"), [("bce", 1), ("bce_legacy", -1)])
def test_the_two_forms_of_bce_push_fakes_differently(kind, slope):
    fake = T([-8.0, 2.0], dtype=DOUBLE, requires_grad=True)
    discriminator_loss(NONE, fake, kind).backward()
    sigmoid = 1 / (1 + np.exp(-slope * fake.detach().numpy()))
    np.testing.assert_allclose(fake.grad.numpy() * 2, sigmoid, rtol=1e-4)


# What all losses share ---------------------------------------------------------------------------

ALL_CENSORED = (T([1.0, 2.0]), T([0, 0]))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: cox_loss(x, *ALL_CENSORED),
        lambda x: legacy_cox_loss(x, *ALL_CENSORED, paired=False),
        lambda x: ranking_loss(x, *ALL_CENSORED),
        lambda x: recon_loss(x[:0], T([]), T([])),
        lambda x: crps_loss(x[:0].expand(2, 0).T, T([]), T([])),
        lambda x: nll_loss(x[:0, None], T([], dtype=torch.int64), T([])),
        lambda x: discriminator_loss(x[:0], x[:0]),
        lambda x: generator_loss(x[:0]),
    ],
    ids=["cox", "legacy cox", "ranking", "recon", "crps", "nll", "discriminator", "generator"],
)
def test_nothing_to_learn_is_a_zero_attached_to_the_graph(loss):
    x = T([0.4, 0.1], requires_grad=True)
    value = loss(x)
    assert value.item() == 0
    value.backward()
    assert x.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_keep_the_type_of_the_prediction(cohort, dtype):
    x, time, event = cohort
    x = x.to(dtype)
    losses = [
        cox_loss(x, time, event),
        legacy_cox_loss(x, time, event, paired=False),
        ranking_loss(x, time, event),
        recon_loss(x, time, event),
        crps_loss(torch.stack([x, x + 1], 1), time, event),
        nll_loss(x[:, None], torch.zeros(12), event),
        discriminator_loss(x, x),
        generator_loss(x),
    ]
    assert {loss.dtype for loss in losses} == {dtype}


def test_misspelt_options_name_the_right_ones(cohort):
    x, time, event = cohort
    with pytest.raises(ValueError, match="efron"):
        cox_loss(x, time, event, ties="exact")
    with pytest.raises(ValueError, match="start"):
        nll_loss(x[:, None], time * 0, event, censor_convention="middle")
    with pytest.raises(ValueError, match="l2"):
        recon_loss(x, time, event, norm="l3")
    with pytest.raises(ValueError, match="1 is too few, take 2"):
        crps_loss(x[:, None], time, event)
    with pytest.raises(ValueError, match="logistic"):
        ranking_loss(x, time, event, kind="soft")
    with pytest.raises(ValueError, match="l2"):
        ranking_loss(x, time, event, norm="l3")
    with pytest.raises(ValueError, match="bce_legacy"):
        discriminator_loss(x, x, kind="bce-legacy")
    with pytest.raises(ValueError, match="non_saturating"):
        generator_loss(x, kind="saturating")


def test_distinct_bins_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_bins([1, 2, 3, 4], [1, 1, 1, 1], 2)
