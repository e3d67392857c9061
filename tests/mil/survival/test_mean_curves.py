"""The mean of models' survival curves against closed forms."""

import numpy as np
import pytest

from mil.survival.breslow import BreslowBaseline
from mil.survival.curves import curves_of_bins, curves_of_cox, curves_of_draws
from mil.survival.mean_curves import mean_curves, restricted_mean


def test_pooled_draws_are_the_mean_of_the_curves():
    random = np.random.default_rng(1)
    models = [curves_of_draws(random.exponential(3, (4, 25))) for _ in range(3)]
    mean = mean_curves(models)
    times = np.linspace(0, 12, 50)
    expected = np.mean([model.at(times) for model in models], axis=0)
    np.testing.assert_allclose(mean.at(times), expected, atol=1e-12)
    assert mean.draws == 75


def test_mean_of_lines_is_exact_between_all_edges_and_ends_with_the_first_model():
    a = curves_of_bins([0, 2, 6, np.inf], [[0.8, 0.4, 0.1]])
    b = curves_of_bins([0, 4, np.inf], [[0.5, 0.2]])
    mean = mean_curves([a, b])
    # a falls 1, .8, .4 at 0, 2, 6; b 1, .5 at 0, 4, flat after
    np.testing.assert_allclose(
        mean.at([1, 2, 3, 4, 5, 6]),
        [[(0.9 + 0.875) / 2, 0.775, 0.6625, 0.55, 0.5, 0.45]],
    )
    assert mean.end == 4
    # trapezoids of the mean up to 4: (1 + .775) / 2 * 2 + (.775 + .55) / 2 * 2
    assert restricted_mean(mean, 4) == pytest.approx(1.775 + 1.325)


def test_mean_of_cox_curves_has_the_steps_of_both_baselines():
    a = BreslowBaseline(np.array([1.0, 3.0]), np.log([0.5, 1.0]), end=5.0)
    b = BreslowBaseline(np.array([2.0]), np.log([0.25]), end=4.0)
    mean = mean_curves([curves_of_cox(a, [0.0, np.log(2)]), curves_of_cox(b, [np.log(4), 0.0])])
    expected = [
        [1, (np.exp(-0.5) + 1) / 2, (np.exp(-0.5) + np.exp(-1)) / 2, np.exp(-1)],
        [1, (np.exp(-1) + 1) / 2, (np.exp(-1) + np.exp(-0.25)) / 2,
         (np.exp(-2) + np.exp(-0.25)) / 2],
    ]  # fmt: skip
    np.testing.assert_allclose(mean.at([0.5, 1, 2, 3]), expected)
    # steps of length one up to the first end, the last until 4
    np.testing.assert_allclose(restricted_mean(mean, mean.end), np.sum(expected, axis=1))


def test_a_model_whose_offset_differs_changes_no_order():
    """Cox risks have no origin: the baseline takes up the shift that averaging them would keep."""
    risk = np.array([0.3, -1.0, 2.0])
    base = BreslowBaseline(np.array([1.0, 2.0]), np.log([0.1, 0.4]), end=3.0)
    shifted = BreslowBaseline(base.time, base.log_hazard - 7, end=3.0)
    same, moved = curves_of_cox(base, risk), curves_of_cox(shifted, risk + 7)
    np.testing.assert_allclose(mean_curves([same, moved]).survival, same.survival)
