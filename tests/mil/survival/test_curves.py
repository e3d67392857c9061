"""Survival curves of every kind of head, against closed forms and second libraries."""

import numpy as np
import pandas as pd
import pytest

from mil.stored_curves import baseline_arrays, read_curves
from mil.survival.breslow import breslow_baseline
from mil.survival.curves import LEVELS, curves_of_bins, curves_of_cox, curves_of_draws
from wsi.storage import save_npz


def cox_data(n=120, tied=False, seed=4):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    death, censoring = rng.exponential(10 * np.exp(-risk)), rng.uniform(1, 25, n)
    time = np.minimum(death, censoring)
    return np.ceil(time) if tied else time + 0.01, death <= censoring, risk


# Draws -------------------------------------------------------------------------------------------


def test_the_curve_of_draws_is_the_share_beyond():
    curves = curves_of_draws([[4, 1, 2, 2], [7, 7, 7, 7]])
    found = curves.at([0, 1, 1.5, 2, 3.9, 4, 9])
    assert found[0].tolist() == [1, 0.75, 0.75, 0.25, 0.25, 0, 0]
    assert found[1].tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert curves.at_own([2, 6]).tolist() == [0.25, 1]
    assert not curves.extrapolated([1e9]).any()


def test_the_median_of_draws_is_the_lower_middle_one():
    draws = np.random.default_rng(0).exponential(size=(50, 200))
    np.testing.assert_array_equal(curves_of_draws(draws).median, np.sort(draws, axis=1)[:, 99])
    odd = curves_of_draws(draws[:, :9])
    np.testing.assert_array_equal(odd.median, np.median(draws[:, :9], axis=1))


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_of_draws_are_inverted_shares(level):
    draws = np.random.default_rng(1).gamma(2, size=(20, 200))
    low, high = curves_of_draws(draws).interval(level)
    for q, found in (((1 - level) / 2, low), ((1 + level) / 2, high)):
        expected = np.sort(draws, axis=1)[:, round(q * 200) - 1]  # of 200 draws every q is one
        np.testing.assert_array_equal(found, expected)


def test_the_probability_integral_of_draws_is_uniform_and_never_0_or_1():
    rng = np.random.default_rng(2)
    curves = curves_of_draws(rng.exponential(size=(4000, 30)))
    p = curves.probability_integral(rng.exponential(size=4000))
    assert p.min() == pytest.approx(0.5 / 31)
    assert p.max() == pytest.approx(30.5 / 31)
    assert np.histogram(p * 31, np.arange(32))[0].std() / (4000 / 31) < 0.2


def test_a_diverged_patient_has_no_curve_and_the_others_theirs():
    curves = curves_of_draws([[1, 2, np.nan], [1, 2, 3]])
    assert np.isnan(curves.at([0.5, 9])).all(axis=1).tolist() == [True, False]
    np.testing.assert_array_equal(curves.median, [np.nan, 2])
    assert len(curves.rows([1])) == 1


# Time bins ---------------------------------------------------------------------------------------


def test_time_bins_are_joined_by_straight_lines_and_flat_after_the_last_edge():
    curves = curves_of_bins([0, 2, 6, 10, np.inf], [[0.8, 0.4, 0.2, 0.01], [0.9, 0.8, 0.7, 0.2]])
    found = curves.at([0, 1, 2, 4, 6, 8, 10, 50])
    np.testing.assert_allclose(found[0], [1, 0.9, 0.8, 0.6, 0.4, 0.3, 0.2, 0.2])
    np.testing.assert_allclose(curves.median, [5, np.inf])
    low, high = curves.interval(0.5)
    np.testing.assert_allclose(low, [2.5, 8])
    np.testing.assert_allclose(high, [9, np.inf])
    assert curves.extrapolated([10, 10.1]).tolist() == [False, True]


# Cox ---------------------------------------------------------------------------------------------


def test_breslow_by_hand():
    baseline = breslow_baseline([1, 2, 2, 3], [1, 1, 1, 0], np.log([2, 1, 1, 1]))
    assert baseline.time.tolist() == [1, 2]
    np.testing.assert_allclose(np.exp(baseline.log_hazard), [1 / 5, 1 / 5 + 2 / 3])
    curve = curves_of_cox(baseline, [np.log(3)])
    np.testing.assert_allclose(curve.at([0.5, 1, 9])[0], [1, np.exp(-0.6), np.exp(-2.6)])
    assert curve.extrapolated([3, 3.1]).tolist() == [False, True]


@pytest.mark.parametrize("tied", [False, True])
def test_breslow_equals_scikit_survival(tied):
    coxph = pytest.importorskip("sksurv.linear_model.coxph")
    time, event, risk = cox_data(tied=tied)
    fit = coxph.BreslowEstimator().fit(risk, event, time)
    others = np.array([-2.0, 0, 1.5])
    grid = np.linspace(time.min(), time.max(), 77)
    expected = [curve(grid) for curve in fit.get_survival_function(others)]
    found = curves_of_cox(breslow_baseline(time, event, risk), others).at(grid)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_breslow_equals_lifelines():
    lifelines = pytest.importorskip("lifelines")
    time, event, risk = cox_data()
    table = pd.DataFrame({"time": time, "event": event, "x": risk})
    fit = lifelines.CoxPHFitter().fit(table, "time", "event")
    curves = curves_of_cox(
        breslow_baseline(time, event, fit.params_["x"] * risk), fit.params_["x"] * risk
    )
    grid = np.sort(time)
    expected = fit.predict_survival_function(table, times=grid).to_numpy().T
    np.testing.assert_allclose(curves.at(grid), expected, rtol=1e-7, atol=1e-9)


def test_an_offset_of_the_risks_changes_no_curve_and_overflows_nowhere():
    time, event, risk = cox_data()
    grid = np.linspace(0, 25, 30)
    expected = curves_of_cox(breslow_baseline(time, event, risk), risk).at(grid)
    for offset in (1000.0, -1000.0):
        found = curves_of_cox(breslow_baseline(time, event, risk + offset), risk + offset)
        np.testing.assert_allclose(found.at(grid), expected, rtol=1e-9)


def test_without_an_event_cox_survival_is_one():
    curves = curves_of_cox(breslow_baseline([1, 2], [0, 0], [0.0, 1]), [0.0, np.nan])
    np.testing.assert_array_equal(curves.at([0, 5]), [[1, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(curves.median, [np.inf, np.nan])


# What all share ----------------------------------------------------------------------------------


def kinds():
    time, event, risk = cox_data(n=40)
    baseline = breslow_baseline(time, event, risk)
    draws = np.random.default_rng(3).gamma(2, 5, size=(40, 50)).astype(np.float32)
    survival = np.sort(np.random.default_rng(3).uniform(size=(40, 4)))[:, ::-1]
    edges = np.array([0, 2, 6, 10, np.inf])
    none = np.zeros((40, 0), np.float32)
    return {
        "draws": ({"draws": draws}, curves_of_draws(draws)),
        "bins": ({"draws": none, "edges": edges, "survival": survival},
                 curves_of_bins(edges, survival)),
        "cox": ({"draws": none, **baseline_arrays(baseline)}, curves_of_cox(baseline, risk)),
        "time": ({"draws": none}, None),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["draws", "bins", "cox"])
def test_every_curve_falls_from_one_and_its_quantiles_invert_it(kind):
    curves = kinds()[kind][1]
    grid = np.linspace(0, 40, 400)
    values = curves.at(grid)
    assert (values[:, 0] == 1).all()
    assert (np.diff(values, axis=1) <= 1e-15).all()
    times = np.resize(grid, 40)
    np.testing.assert_allclose(curves.at_own(times), np.diag(curves.at(times)), atol=1e-15)
    for level in LEVELS:
        low, high = curves.interval(level)
        assert (low <= curves.median).all()
        assert (curves.median <= high).all()
        reached = np.isfinite(high)
        assert (curves.rows(reached).at_own(high[reached]) <= (1 - level) / 2 + 1e-9).all()
        earlier = high[reached] * (1 - 1e-6)
        assert (curves.rows(reached).at_own(earlier) > (1 - level) / 2).all()


@pytest.mark.parametrize("kind", ["draws", "bins", "cox", "time"])
def test_stored_curves_are_read_in_the_order_of_the_table(kind, tmp_path):
    arrays, expected = kinds()[kind]
    ids = [f"{k:02d}" for k in range(40)]
    save_npz(tmp_path / "draws.npz", patient_id=np.array(ids), **arrays)
    table = pd.DataFrame({"patient_id": ids, "risk": cox_data(n=40)[2]})
    part = table.iloc[[7, 3, 30]]
    found = read_curves(part, tmp_path / "draws.npz")
    if expected is None:
        assert found is None
        return
    grid = [1.0, 4, 9]
    np.testing.assert_allclose(found.at(grid), expected.rows([7, 3, 30]).at(grid))
    with pytest.raises(ValueError, match="no patient X"):
        read_curves(table.assign(patient_id="X"), tmp_path / "draws.npz")
