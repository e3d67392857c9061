"""Metrics against the fixture, closed forms, plain loops and second libraries."""

import numpy as np
import pytest

from mil.survival.metrics import (
    brier_grid,
    brier_scores,
    censoring_survival,
    cumulative_dynamic_auc,
    default_tau,
    harrell_c,
    integrated_brier,
    kaplan_meier,
    logrank,
    mae_hinge,
    mae_uncensored,
    uno_c,
)
from mil.survival.metrics.logrank import permutation_p

KINDS = ["no ties", "tied times", "tied risks", "90 % censored"]


def simulate(kind, n=150, seed=0):
    rng = np.random.default_rng([KINDS.index(kind), seed])
    risk = rng.normal(size=n)
    death = rng.exponential(10 * np.exp(-0.8 * risk))
    censoring = rng.exponential(1.2 if kind == "90 % censored" else 15, size=n)
    time, event = np.minimum(death, censoring) + 0.01, (death <= censoring).astype(int)
    if kind == "tied times":
        time = np.ceil(time)
    if kind == "tied risks":
        risk = np.round(risk)
    return time, event, risk


@pytest.fixture(params=KINDS)
def data(request):
    return simulate(request.param)


def surv(time, event):
    util = pytest.importorskip("sksurv.util")
    return util.Surv.from_arrays(event.astype(bool), time)


# Harrell's C -------------------------------------------------------------------------------------


def test_harrell_of_the_fixture(known):
    c = harrell_c(known["t"], known["e"], known["r"])
    assert c.value == pytest.approx(0.8)
    assert (c.concordant, c.discordant, c.tied_risk, c.pairs) == (27, 6, 2, 35)
    assert (c.n, c.events, c.reason) == (10, 7, "")


def test_harrell_golden():
    c = harrell_c([5, 5, 3, 7, 9, 7], [1, 0, 1, 1, 0, 1], [0.5, 0.1, 0.5, 0.2, 0.05, 0.2])
    assert (c.concordant, c.discordant, c.tied_risk) == (10, 0, 1)
    assert c.value == pytest.approx(0.954545, abs=1e-6)


def plain_harrell(t, e, r):
    concordant = discordant = tied = 0
    for i in range(len(t)):
        for j in range(len(t)):
            if e[i] and (t[i] < t[j] or (t[i] == t[j] and not e[j])):
                tied += abs(r[i] - r[j]) <= 1e-8
                concordant += r[i] - r[j] > 1e-8
                discordant += r[j] - r[i] > 1e-8
    return concordant, discordant, tied


def test_harrell_equals_a_plain_loop(data):
    c = harrell_c(*data)
    assert (c.concordant, c.discordant, c.tied_risk) == plain_harrell(*data)


@pytest.mark.parametrize("n", [2, 3, 7, 8, 9, 31, 32, 33])
def test_harrell_equals_a_plain_loop_at_any_size(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        t, e, r = rng.integers(1, 6, n), rng.integers(0, 2, n), rng.integers(0, 4, n)
        c = harrell_c(t, e, r)
        assert (c.concordant, c.discordant, c.tied_risk) == plain_harrell(t, e, r)


def test_harrell_equals_lifelines_and_scikit_survival(data):
    lifelines = pytest.importorskip("lifelines.utils")
    metrics = pytest.importorskip("sksurv.metrics")
    time, event, risk = data
    value = harrell_c(time, event, risk).value
    assert value == pytest.approx(lifelines.concordance_index(time, -risk, event), abs=1e-12)
    expected = metrics.concordance_index_censored(event.astype(bool), time, risk)
    c = harrell_c(time, event, risk)
    assert value == pytest.approx(expected[0], abs=1e-12)
    assert (c.concordant, c.discordant, c.tied_risk) == expected[1:4]


def test_harrell_depends_on_the_ranks_only(data):
    time, event, risk = data
    assert harrell_c(time, event, np.exp(2 * risk)).value == harrell_c(time, event, risk).value


def test_harrell_of_the_opposite_risk(data):
    time, event, risk = data
    both = harrell_c(time, event, risk).value + harrell_c(time, event, -risk).value
    assert both == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("time", "event", "risk", "reason"),
    [
        ([1, 2, 3], [0, 0, 0], [1, 2, 3], "no events"),
        ([1, 2, 3], [0, 0, 1], [1, 2, 3], "no comparable pair"),
        ([3, 3], [1, 1], [1, 2], "no comparable pair"),
        ([1, 2, 3], [1, 1, 1], [1, np.nan, 3], "1 of 3 risks are not finite"),
        ([], [], [], "no events"),
    ],
)
def test_undefined_harrell_is_nan_with_a_reason(time, event, risk, reason):
    c = harrell_c(time, event, risk)
    assert np.isnan(c.value)
    assert c.reason == reason


def test_a_constant_prediction_has_exactly_one_half():
    assert harrell_c([1, 2, 3], [1, 0, 1], [4, 4, 4]).value == 0.5


def test_unfit_arrays_are_refused():
    with pytest.raises(ValueError, match="3 times but 2 rows of risk"):
        harrell_c([1, 2, 3], [1, 1, 0], [1, 2])
    with pytest.raises(ValueError, match="neither 1"):
        harrell_c([1, 2], [1, 2], [1, 2])
    with pytest.raises(ValueError, match="missing or infinite"):
        harrell_c([1, np.nan], [1, 0], [1, 2])


# Kaplan-Meier ------------------------------------------------------------------------------------


def test_kaplan_meier_by_hand():
    curve = kaplan_meier([1, 2, 2, 3], [1, 1, 0, 0])
    assert curve.time.tolist() == [0, 1, 2, 3]
    assert curve.survival.tolist() == [1, 0.75, 0.5, 0.5]
    assert curve.at_risk.tolist() == [4, 4, 3, 1]
    assert curve.censored.tolist() == [0, 0, 1, 1]
    assert curve.at([0, 1.9, 2, 50]).tolist() == [1, 0.75, 0.5, 0.5]
    assert curve.number_at_risk([0, 1, 1.5, 3, 4]).tolist() == [4, 4, 3, 1, 0]
    assert curve.median[0] == 2


def test_kaplan_meier_equals_lifelines(data):
    lifelines = pytest.importorskip("lifelines")
    from lifelines.utils import median_survival_times

    time, event, _ = data
    curve = kaplan_meier(time, event)
    fit = lifelines.KaplanMeierFitter().fit(time, event)
    np.testing.assert_allclose(curve.time, fit.survival_function_.index, atol=1e-12)
    np.testing.assert_allclose(curve.survival, fit.survival_function_.to_numpy()[:, 0], atol=1e-12)
    alive = curve.survival > 0  # where the curve is 0 the band is not defined
    band = fit.confidence_interval_.to_numpy()[alive]
    np.testing.assert_allclose(curve.low[alive], band[:, 0], atol=1e-9)
    np.testing.assert_allclose(curve.high[alive], band[:, 1], atol=1e-9)
    np.testing.assert_array_equal(curve.at_risk, fit.event_table["at_risk"])
    low, high = median_survival_times(fit.confidence_interval_).to_numpy()[0]
    assert curve.median == pytest.approx((fit.median_survival_time_, low, high))


def test_kaplan_meier_equals_scikit_survival(data):
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    time, event, _ = data
    x, y = nonparametric.kaplan_meier_estimator(event.astype(bool), time)
    np.testing.assert_allclose(kaplan_meier(time, event).at(x), y, atol=1e-12)


def test_a_median_that_is_not_reached_is_infinite():
    assert kaplan_meier([1, 2, 3], [1, 0, 0]).median == (np.inf, pytest.approx(1), np.inf)


def test_censoring_of_the_fixture(known):
    g = censoring_survival(known["train_t"], known["train_e"])
    expected = [0.909091, 0.808081, 0.673401, 0.673401]
    np.testing.assert_allclose(g.at(known["grid"]), expected, atol=1e-6)


def test_censoring_equals_scikit_survival(data):
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    time, event, _ = data
    fit = nonparametric.CensoringDistributionEstimator().fit(surv(time, event))
    inside = time[time < time.max()]
    expected = fit.predict_proba(inside)
    np.testing.assert_allclose(censoring_survival(time, event).at(inside), expected, atol=1e-12)


# Log-rank ----------------------------------------------------------------------------------------


def test_logrank_of_the_fixture(known):
    test = logrank(known["t"], known["e"], known["r"] > 0.5)
    assert test.statistic == pytest.approx(5.704289, abs=1e-6)
    assert test.p_value == pytest.approx(0.016924, abs=1e-6)


def test_logrank_equals_lifelines_and_scikit_survival(data):
    statistics = pytest.importorskip("lifelines.statistics")
    compare = pytest.importorskip("sksurv.compare")
    time, event, risk = data
    high = risk > 0
    test = logrank(time, event, high)
    expected = statistics.multivariate_logrank_test(time, high, event)
    assert test.statistic == pytest.approx(expected.test_statistic, abs=1e-9)
    chi2, p = compare.compare_survival(surv(time, event), high)
    assert test.statistic == pytest.approx(chi2, abs=1e-9)
    assert test.p_value == pytest.approx(p, abs=1e-12)


def test_stratified_logrank_adds_up_the_strata(data):
    time, event, risk = data
    high, stratum = risk > 0, np.arange(len(time)) % 3
    parts = [logrank(time[stratum == s], event[stratum == s], high[stratum == s]) for s in range(3)]
    excess = sum(p.observed - p.expected for p in parts)
    expected = excess**2 / sum(p.variance for p in parts)
    test = logrank(time, event, high, stratum)
    assert test.statistic == pytest.approx(expected)
    assert test.statistic != pytest.approx(logrank(time, event, high).statistic, rel=1e-6)


def test_strata_with_their_own_time_scale_do_not_disturb_each_other():
    time, event, risk = simulate("no ties")
    stratum = np.arange(150) % 2
    stretched = np.where(stratum, 100 * time, time)
    one = logrank(time, event, risk > 0, stratum)
    assert logrank(stretched, event, risk > 0, stratum).statistic == pytest.approx(one.statistic)


@pytest.mark.parametrize(
    ("group", "event", "reason"),
    [
        ([0, 0, 0, 0], [1, 1, 1, 1], "an empty group"),
        ([1, 0, 0, 0], [1, 1, 1, 1], "a group of one patient"),
        ([1, 1, 0, 0], [0, 0, 0, 0], "no event while both groups were at risk"),
    ],
)
def test_no_logrank_says_why(group, event, reason):
    test = logrank([1, 2, 3, 4], event, group)
    assert np.isnan(test.p_value)
    assert reason in test.reason


def test_permutation_p_agrees_with_the_test_where_both_hold():
    time, event, risk = simulate("no ties", n=200)
    noise = np.random.default_rng(5).normal(size=200)
    stratum = np.arange(200) % 4
    assert permutation_p(time, event, risk > 0, stratum, 200, 0) == pytest.approx(1 / 201)
    expected = logrank(time, event, noise > 0, stratum).p_value
    found = permutation_p(time, event, noise > 0, stratum, 500, 0)
    assert found == pytest.approx(expected, abs=0.07)


# Weighted metrics --------------------------------------------------------------------------------


def test_uno_of_the_fixture(known):
    arguments = [known[key] for key in ("t", "e", "r", "train_t", "train_e")]
    assert uno_c(*arguments, tau=10).value == pytest.approx(0.800484, abs=1e-6)
    assert uno_c(*arguments).value == pytest.approx(0.740760, abs=1e-6)


def test_brier_of_the_fixture(known):
    arguments = [known[key] for key in ("S", "grid", "t", "e", "train_t", "train_e")]
    expected = [0.111140, 0.191496, 0.218492, 0.160537]
    np.testing.assert_allclose(brier_scores(*arguments), expected, atol=1e-6)
    assert integrated_brier(*arguments).value == pytest.approx(0.181942, abs=1e-6)


def test_auc_of_the_fixture(known):
    arguments = [known[key] for key in ("t", "e", "r", "grid", "train_t", "train_e")]
    auc = cumulative_dynamic_auc(*arguments)
    np.testing.assert_allclose(auc.auc, [1, 0.73, 0.869186, 0.958178], atol=1e-6)
    assert auc.mean == pytest.approx(0.900270, abs=1e-6)


def test_time_errors_of_the_fixture(known):
    assert mae_uncensored(known["m"], known["t"], known["e"]) == pytest.approx(0.921220, abs=1e-6)
    assert mae_hinge(known["m"], known["t"], known["e"]) == pytest.approx(1.280190, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_metrics_equal_scikit_survival(kind):
    metrics = pytest.importorskip("sksurv.metrics")
    train_time, train_event, _ = simulate(kind, n=400, seed=1)
    time, event, risk = simulate(kind)
    train, test = surv(train_time, train_event), surv(time, event)
    tau = default_tau(train_time, train_event)
    expected = metrics.concordance_index_ipcw(train, test, risk, tau=tau)[0]
    value = uno_c(time, event, risk, train_time, train_event, tau).value
    assert value == pytest.approx(expected, abs=1e-9)

    grid = brier_grid(train_time, train_event, time)
    survival = np.exp(-0.1 * np.exp(0.8 * risk)[:, None] * grid)
    expected = metrics.brier_score(train, test, survival, grid)[1]
    found = brier_scores(survival, grid, time, event, train_time, train_event)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    expected = metrics.integrated_brier_score(train, test, survival, grid)
    found = integrated_brier(survival, grid, time, event, train_time, train_event)
    assert found.value == pytest.approx(expected, abs=1e-9)

    expected, mean = metrics.cumulative_dynamic_auc(train, test, risk, grid)
    found = cumulative_dynamic_auc(time, event, risk, grid, train_time, train_event)
    np.testing.assert_allclose(found.auc, expected, atol=1e-9)
    assert found.mean == pytest.approx(mean, abs=1e-9)


def test_the_training_curve_is_its_own_reference():
    time, event, _ = simulate("no ties")
    grid = brier_grid(time, event, time)
    curve = np.tile(kaplan_meier(time, event).at(grid), (len(time), 1))
    result = integrated_brier(curve, grid, time, event, time, event)
    assert result.value == pytest.approx(result.reference)
    assert result.scaled == pytest.approx(0)


def test_weights_beyond_the_training_follow_up_are_not_made_up():
    c = uno_c([1, 5, 9, 12], [1, 1, 1, 0], [4, 3, 2, 1], [1, 2, 3, 4], [1, 1, 0, 1])
    assert np.isnan(c.value)
    assert "beyond the training follow-up" in c.reason
    c = uno_c([1, 5, 9, 12], [1, 1, 1, 0], [4, 3, 2, 1], [1, 2, 3, 4], [1, 1, 0, 1], tau=4)
    assert c.value == 1
    scores = brier_scores(np.ones((2, 2)), [2, 8], [3, 9], [1, 0], [1, 2, 4], [1, 0, 1])
    assert np.isnan(scores).tolist() == [False, True]


def test_auc_without_a_case_is_nan():
    auc = cumulative_dynamic_auc([2, 4], [1, 0], [1, 0], [1, 3], [1, 5], [1, 0])
    assert np.isnan(auc.auc[0])
    assert auc.auc[1] == 1
    assert auc.mean == 1  # where the curve does not fall a time has no weight


def test_auc_without_a_control_leaves_its_mean_undefined():
    auc = cumulative_dynamic_auc([2, 4], [1, 1], [1, 0], [3, 4], [1, 5], [1, 0])
    assert auc.auc[0] == 1
    assert np.isnan(auc.auc[1])
    assert np.isnan(auc.mean)
    assert auc.reason


# What all metrics share --------------------------------------------------------------------------


def test_no_metric_depends_on_the_order_of_patients(data):
    time, event, risk = data
    train = simulate("tied times", n=300, seed=9)[:2]
    order = np.random.default_rng(1).permutation(len(time))

    def all_metrics(t, e, r):
        grid = np.array([1.0, 2.0, 3.0])
        curves = np.exp(-np.exp(r)[:, None] * grid / 10)
        return [
            harrell_c(t, e, r).value,
            uno_c(t, e, r, *train, tau=5).value,
            integrated_brier(curves, grid, t, e, *train).value,
            cumulative_dynamic_auc(t, e, r, grid, *train).mean,
            logrank(t, e, r > 0).statistic,
            kaplan_meier(t, e).at(2.0),
            mae_hinge(np.exp(-r), t, e),
        ]

    found = all_metrics(time[order], event[order], risk[order])
    np.testing.assert_allclose(found, all_metrics(time, event, risk), rtol=1e-12)
