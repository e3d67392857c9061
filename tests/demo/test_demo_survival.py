"""The simulated follow-up: its model is the one that was promised."""

import numpy as np
import pandas as pd
import pytest

from demo.plan import plan_cohort
from demo.survival import BETA, SHAPE, concordance, simulate_follow_up, spread_fractions

lifelines = pytest.importorskip("lifelines")


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(3)
    fraction = spread_fractions(rng, 4000)
    return fraction, simulate_follow_up(rng, fraction)


def test_a_cox_model_finds_the_planted_effect(many):
    fraction, follow_up = many
    table = pd.DataFrame({"f": fraction, "time": follow_up.time, "event": follow_up.event})
    fit = lifelines.CoxPHFitter().fit(table, "time", "event")
    assert fit.params_["f"] == pytest.approx(BETA, abs=3 * fit.standard_errors_["f"])


def test_a_weibull_model_finds_the_shape(many):
    fraction, follow_up = many
    table = pd.DataFrame({"f": fraction, "time": follow_up.time, "event": follow_up.event})
    fit = lifelines.WeibullAFTFitter().fit(table, "time", "event")
    assert np.exp(fit.params_["rho_", "Intercept"]) == pytest.approx(SHAPE, rel=0.05)
    # An accelerated time is a hazard ratio to the power -1/shape.
    assert fit.params_["lambda_", "f"] == pytest.approx(-BETA / SHAPE, rel=0.05)


def test_a_third_is_censored(many):
    assert 0.27 < 1 - many[1].event.mean() < 0.42


def test_concordance_agrees_with_lifelines():
    rng = np.random.default_rng(0)
    for _ in range(5):
        time = rng.integers(1, 20, 60).astype(float)  # many ties
        event = rng.integers(0, 2, 60)
        risk = rng.integers(0, 8, 60).astype(float)
        # lifelines counts tied event times as half where the risks differ; here they are not used.
        time += np.where(event == 1, rng.permutation(60) * 1e-6, 1e-3)
        expected = lifelines.utils.concordance_index(time, -risk, event)
        assert concordance(time, event, risk) == pytest.approx(expected, abs=1e-12)


def test_concordance_by_hand():
    # Pairs: (1,2) right, (1,3) tied risk, (2,3) wrong -> 1.5 of 3.
    assert concordance(
        np.array([1.0, 2.0, 3.0]), np.array([1, 1, 0]), np.array([2.0, 1.0, 2.0])
    ) == pytest.approx(0.5)
    assert np.isnan(concordance(np.array([1.0, 2.0]), np.array([0, 0]), np.array([1.0, 2.0])))


def test_the_true_hazard_of_the_default_cohort_ranks_patients_well():
    known = [p for p in plan_cohort(48, 8192, 42, bad_slides=True) if p.time is not None]
    time, event, hazard = (
        np.array([getattr(p, n) for p in known]) for n in ("time", "event", "hazard")
    )
    assert concordance(time, event, hazard) > 0.85
    assert 0.25 < 1 - event.mean() < 0.45
