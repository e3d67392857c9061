"""Metrics of whole distributions: the fixture, closed forms, plain loops and second libraries."""

import numpy as np
import pytest

from mil.survival.curves import curves_of_draws
from mil.survival.metrics import cumulative_dynamic_auc, harrell_c, kaplan_meier, uno_c
from mil.survival.metrics.antolini import antolini_c
from mil.survival.metrics.bootstrap import bootstrap_means, bootstrap_pairs, resample_counts
from mil.survival.metrics.bootstrap_auc import AUCFold, auc_of_draws, bootstrap_auc
from mil.survival.metrics.brier import brier_grid, brier_parts, integrated, integrated_brier
from mil.survival.metrics.calibration import d_calibration, share_within
from mil.survival.metrics.pairs import antolini_pairs, uno_pairs
from mil.survival.metrics.surrogate_times import margin_times, pseudo_times

AREAS = {"step": (2.059538, 2.549891), "trapezoid": (2.011517, 2.462737)}


def simulate(seed, n=120, censored=15.0, tied=False):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    rate = 0.1 * np.exp(0.8 * risk)
    death, censoring = rng.exponential(1 / rate), rng.exponential(censored, n)
    time = np.minimum(death, censoring) + 0.01
    return np.ceil(time) if tied else time, (death <= censoring).astype(int), risk, rate


# Surrogate times ---------------------------------------------------------------------------------


def error(predicted, surrogate):
    return np.average(np.abs(predicted - surrogate.time), weights=surrogate.weight)


@pytest.mark.parametrize("area", AREAS)
def test_surrogate_errors_of_the_fixture(known, area):
    arguments = [known[key] for key in ("t", "e", "train_t", "train_e")]
    margin, pseudo = AREAS[area]
    assert error(known["m"], margin_times(*arguments, area)) == pytest.approx(margin, abs=1e-6)
    assert error(known["m"], pseudo_times(*arguments, area)) == pytest.approx(pseudo, abs=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("censored", [3.0, 15.0])
def test_surrogate_errors_equal_survivaleval(tied, censored):
    survivaleval = pytest.importorskip("SurvivalEVAL")
    train = simulate(1, censored=censored, tied=tied)[:2]
    time, event, _, rate = simulate(2, tied=tied)  # some beyond the training follow-up
    evaluator = survivaleval.PointEvaluator(np.log(2) / rate, time, event, *train)
    for method, surrogate in (("Margin", margin_times), ("Pseudo_obs", pseudo_times)):
        found = error(np.log(2) / rate, surrogate(time, event, *train, "trapezoid"))
        assert found == pytest.approx(evaluator.mae(method=method), abs=1e-9)


def test_surrogates_by_hand():
    """Training curve 1, 2/3, 1/3 from times 2 and 4; its tail goes from 1/3 at 5 to 0 at 7.5."""
    train = [2, 4, 5], [1, 1, 0]
    of = margin_times([3, 6, 9, 4], [0, 0, 0, 1], *train)
    tail = 1 / 3 * 2.5 / 2
    expected = 3 + (2 / 3 + 1 / 3 + tail) / (2 / 3), 6 + 1.5 / 2, 9, 4
    np.testing.assert_allclose(of.time, expected)
    np.testing.assert_allclose(of.weight, [1 / 3, 6 / 7.5, 1, 1])


def test_without_a_training_event_there_is_no_surrogate():
    for surrogate in (margin_times, pseudo_times):
        of = surrogate([2, 3], [0, 1], [4, 5], [0, 0])
        assert np.isnan(of.time).tolist() == [True, False]
    with pytest.raises(ValueError, match="it must be step or trapezoid"):
        margin_times([2], [0], [4], [1], area="round")


# D-calibration and coverage ----------------------------------------------------------------------


def test_d_calibration_of_the_fixture(known):
    rate = 0.1 * np.exp(0.5 * known["r"])
    found = d_calibration(np.exp(-rate * known["t"]), known["e"], bins=5)
    expected = [0, 2.016079, 5.327974, 1.251010, 1.404937]
    np.testing.assert_allclose(found.totals[::-1], expected, atol=1e-6)
    assert found.statistic == pytest.approx(7.995377, abs=1e-6)
    assert found.p_value == pytest.approx(0.091748, abs=1e-6)


@pytest.mark.parametrize("censored", [3.0, 15.0])
def test_d_calibration_equals_survivaleval(censored):
    module = pytest.importorskip(
        "SurvivalEVAL.evaluations.calibration.distributional.distribution_calibration"
    )
    time, event, _, rate = simulate(3, censored=censored)
    p = np.exp(-1.3 * rate * time)
    p[:3] = 1.0, 0.0, 0.5
    found = d_calibration(p, event)
    expected = module.d_calibration(p, event)
    assert (found.statistic, found.p_value) == pytest.approx(expected[:2], abs=1e-9)
    np.testing.assert_allclose(found.totals[::-1], expected[2], atol=1e-9)
    assert found.totals.sum() == pytest.approx(len(p))


def test_the_true_model_is_calibrated_and_its_p_uniform():
    p_values = []
    for seed in range(60):
        time, event, _, rate = simulate(100 + seed, n=400, censored=1e9)
        draws = np.random.default_rng(seed).exponential(size=(400, 200)) / rate[:, None]
        p = curves_of_draws(draws).probability_integral(time - 0.01)
        p_values.append(d_calibration(p, event).p_value)
    assert np.quantile(p_values, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.17)


def test_coverage_by_hand():
    """Half of the interval 0.25 to 0.75: events in or out, censored by the share below their p."""
    p, event = np.array([0.3, 0.9, 1.0, 0.5, 0.2, 0.0]), np.array([1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(share_within(p, event, 0.25, 0.75), [1, 0, 0.5, 0.5, 0, 0])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_the_true_model_covers_what_it_says(level):
    time, event, _, rate = simulate(5, n=6000, censored=10.0)
    p = np.exp(-rate * (time - 0.01))
    covered = share_within(p, event, (1 - level) / 2, (1 + level) / 2).mean()
    assert covered == pytest.approx(level, abs=0.02)


def test_a_missing_prediction_leaves_the_calibration_undefined():
    found = d_calibration([0.2, np.nan], [1, 0])
    assert np.isnan(found.p_value)
    assert found.reason == "1 of 2 predictions are missing"
    assert d_calibration([], []).reason == "no test patients"


# Antolini's C ------------------------------------------------------------------------------------


def crossing(n=80, seed=6, tied=False):
    time, event, risk, _ = simulate(seed, n=n, tied=tied)
    shape = np.random.default_rng(seed).uniform(0.4, 3, n)
    scale = 8 * np.exp(-risk)
    return time, event, lambda u: np.round(np.exp(-((u / scale[:, None]) ** shape[:, None])), 2)


@pytest.mark.parametrize("tied", [False, True])
def test_antolini_equals_a_plain_loop_and_survivaleval(tied):
    time, event, curves = crossing(tied=tied)
    survival = curves(time)
    concordant = discordant = equal = 0
    for i in range(80):
        for j in range(80):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                own, other = survival[i, i], survival[j, i]
                equal += abs(own - other) <= 1e-8
                concordant += other - own > 1e-8
                discordant += own - other > 1e-8
    c = antolini_c(time, event, survival)
    assert (c.concordant, c.discordant, c.tied_risk) == (concordant, discordant, equal)
    assert equal > 0
    assert c.value == (concordant + equal / 2) / (concordant + discordant + equal)
    module = pytest.importorskip(
        "SurvivalEVAL.evaluations.discrimination.distributional.time_dependent_concordance"
    )
    at_anchors = -survival[:, event == 1]
    expected = module.concordance_time_dependent(at_anchors, time, event)[0]
    assert c.value == pytest.approx(expected, abs=1e-9)


def test_antolini_of_curves_that_never_cross_is_harrell():
    time, event, risk, rate = simulate(7)
    c = antolini_c(time, event, np.exp(-rate[:, None] * time))
    assert c.value == pytest.approx(harrell_c(time, event, risk).value, abs=1e-12)


def test_undefined_antolini_says_why():
    assert antolini_c([1, 2], [0, 0], np.ones((2, 2))).reason == "no events"
    assert antolini_c([1, 2], [0, 1], np.ones((2, 2))).reason == "no comparable pair"
    assert "1 of 2 curves" in antolini_c([1, 2], [1, 1], [[1, 1], [1, np.nan]]).reason


# Bootstrap ---------------------------------------------------------------------------------------


def repeated(counts, *arrays):
    return (np.repeat(x, counts.astype(int), axis=0) for x in arrays)


def test_draws_of_every_metric_are_those_of_the_repeated_patients():
    train = simulate(8, n=300)[:2]
    time, event, risk, rate = simulate(9, n=90, tied=True)
    tau, draws = 9.0, 12
    counts = resample_counts(90, draws, 3, 0)
    grid = brier_grid(*train, time)
    survival = np.exp(-rate[:, None] * grid)

    uno = bootstrap_pairs([uno_pairs(time, event, risk, *train, tau)], [90], draws, 3).mean
    own = np.exp(-rate[:, None] * time)
    antolini = bootstrap_pairs([antolini_pairs(time, event, own)], [90], draws, 3).mean
    parts = integrated(brier_parts(survival, grid, time, event, *train), grid)
    ibs = bootstrap_means([(parts, np.ones(90))], draws, 3)[:, 0]
    auc = bootstrap_auc([AUCFold(time, event, risk, grid, *train)], draws, 3)[0]
    for k, count in enumerate(counts):
        t, e, r, s, rates = repeated(count, time, event, risk, survival, rate)
        assert uno[k] == pytest.approx(uno_c(t, e, r, *train, tau).value, rel=1e-12)
        expected = antolini_c(t, e, np.exp(-rates[:, None] * t)).value
        assert antolini[k] == pytest.approx(expected, rel=1e-12)
        expected = integrated_brier(s, grid, t, e, *train).value
        assert ibs[k] == pytest.approx(expected, rel=1e-12)
        expected = cumulative_dynamic_auc(t, e, r, grid, *train)
        np.testing.assert_allclose(auc.auc[k], expected.auc, rtol=1e-9)
        assert auc.mean[k] == pytest.approx(expected.mean, rel=1e-9, nan_ok=True)
        drop = -np.diff(kaplan_meier(t, e).at(grid), prepend=1.0)
        np.testing.assert_allclose(auc.drop[k], drop, atol=1e-12)


def test_one_draw_of_everybody_is_the_auc():
    train = simulate(8, n=300)[:2]
    time, event, risk, _ = simulate(9, n=90)
    grid = [2.0, 5.0, 1e6]  # nothing is known beyond the training follow-up
    found = auc_of_draws(AUCFold(time, event, risk, grid, *train), np.ones((1, 90)))
    expected = cumulative_dynamic_auc(time, event, risk, grid, *train).auc
    np.testing.assert_allclose(found.auc[0], expected)
    assert np.isnan(expected[2])
