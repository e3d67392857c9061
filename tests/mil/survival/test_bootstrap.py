"""Bootstrap draws against plain resampling, and the rules of the intervals."""

import numpy as np
import pytest

from mil.survival.metrics import bootstrap_concordance, harrell_c, percentile_interval
from mil.survival.metrics.bootstrap import bootstrap_means, resample_counts


def make_fold(n, seed, noise=1.0):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time = np.ceil(rng.exponential(10 * np.exp(-risk)))
    risk = np.round(risk + noise * rng.normal(size=n), 1)
    return time, rng.integers(0, 2, n), risk


def test_a_draw_is_the_metric_of_the_repeated_patients():
    folds = [make_fold(n, n) for n in (25, 300)]  # the second one has several blocks of rows
    draws = bootstrap_concordance(folds, 20, seed=7)
    for k, fold in enumerate(folds):
        counts = resample_counts(len(fold[0]), 20, 7, k).astype(int)
        expected = [harrell_c(*(np.repeat(x, c) for x in fold)).value for c in counts]
        np.testing.assert_allclose(draws.folds[:, k], expected, rtol=1e-12)
    np.testing.assert_allclose(draws.mean, draws.folds.mean(axis=1))


def test_draws_keep_the_size_of_the_fold_and_repeat_themselves():
    counts = resample_counts(30, 50, 1, 2)
    assert set(counts.sum(axis=1)) == {30}
    np.testing.assert_array_equal(counts, resample_counts(30, 50, 1, 2))
    assert not np.array_equal(counts, resample_counts(30, 50, 1, 3))
    assert not np.array_equal(counts, resample_counts(30, 50, 2, 2))


def test_pairs_never_cross_folds():
    one, other = make_fold(40, 0), make_fold(40, 1)
    shifted = (other[0], other[1], other[2] + 100)  # its model has another offset
    same = bootstrap_concordance([one, other], 50, 0).pair_weighted
    np.testing.assert_allclose(bootstrap_concordance([one, shifted], 50, 0).pair_weighted, same)


def test_an_undefined_fold_makes_the_mean_of_its_draws_undefined():
    no_events = (np.arange(1.0, 9), np.zeros(8), np.arange(8.0))
    draws = bootstrap_concordance([make_fold(30, 0), no_events], 20, 0)
    assert np.isnan(draws.mean).all()
    assert np.isfinite(draws.pair_weighted).all()


def test_a_model_compared_with_itself_differs_by_nothing():
    fold = make_fold(60, 3)
    one = bootstrap_concordance([fold], 100, 5).mean
    same = bootstrap_concordance([(fold[0], fold[1], 3 * fold[2] + 1)], 100, 5).mean
    np.testing.assert_array_equal(one, same)


def test_a_repeat_of_the_same_folds_narrows_nothing():
    folds = [make_fold(n, n) for n in (25, 40)]
    names = [[f"{k}-{i}" for i in range(len(fold[0]))] for k, fold in enumerate(folds)]
    turned = [tuple(x[::-1] for x in fold) for fold in folds]  # another order of rows
    once = bootstrap_concordance(folds, 200, 0, names).mean
    np.testing.assert_array_equal(once, bootstrap_concordance(folds, 200, 0).mean)
    ids = names + [own[::-1] for own in names]
    twice = bootstrap_concordance(folds + turned, 200, 0, ids).mean
    np.testing.assert_allclose(twice, once, rtol=1e-12)
    means = [(time, np.ones(len(time))) for time, _, _ in folds + turned]
    drawn = bootstrap_means(means, 200, 0, ids)
    np.testing.assert_allclose(drawn[:, 2:], drawn[:, :2], rtol=1e-12)
    np.testing.assert_array_equal(drawn[:, :2], bootstrap_means(means[:2], 200, 0))


def test_a_patient_counts_the_same_in_the_folds_of_all_repeats():
    everyone = make_fold(60, 8)
    order = np.random.default_rng(1).permutation(60)
    divisions = [np.arange(60)[k::3] for k in range(3)] + [order[:25], order[25:]]
    folds = [tuple(x[rows] for x in everyone) for rows in divisions]
    ids = [[str(row) for row in rows] for rows in divisions]
    draws = bootstrap_concordance(folds, 20, 4, ids)
    counts = np.zeros((20, 60), int)
    for k, rows in enumerate(divisions[:3]):
        counts[:, rows] = resample_counts(20, 20, 4, k)
    for k in (3, 4):
        copies = [np.repeat(divisions[k], c[divisions[k]]) for c in counts]
        expected = [harrell_c(*(x[rows] for x in everyone)).value for rows in copies]
        np.testing.assert_allclose(draws.folds[:, k], expected, rtol=1e-12)


def test_ids_that_do_not_fit_their_fold_are_refused():
    with pytest.raises(ValueError, match="fold 0 has 2 patient ids for 30 rows"):
        bootstrap_concordance([make_fold(30, 0)], 5, 0, [["a", "b"]])


def test_interval_covers_the_truth():
    everyone = make_fold(20_000, 99)
    truth = harrell_c(*everyone).value
    covered = 0
    for k in range(200):
        own = slice(100 * k, 100 * k + 100)
        fold = tuple(x[own] for x in everyone)
        interval = percentile_interval(bootstrap_concordance([fold], 400, k).mean)
        covered += interval.low <= truth <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_percentiles():
    interval = percentile_interval(np.arange(1001.0))
    assert (interval.low, interval.high) == pytest.approx((25, 975))
    assert (interval.draws, interval.undefined, interval.reason) == (1001, 0, "")


def test_undefined_draws_are_counted_and_shown():
    values = np.arange(100.0)
    values[:5] = np.nan
    interval = percentile_interval(values)
    assert interval.undefined == 5
    assert np.isfinite(interval.low)
    assert interval.reason == "undefined in 5 of 100 bootstrap draws"


def test_an_interval_with_many_undefined_draws_is_withheld():
    values = np.arange(100.0)
    values[:6] = np.nan
    interval = percentile_interval(values)
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    assert "withheld" in interval.reason


def test_weighted_means():
    values, weights = np.array([1.0, 2.0, 9.0]), np.array([1, 1, 0])
    means = bootstrap_means([(values, weights)], 200, 0)[:, 0]
    counts = resample_counts(3, 200, 0, 0)
    defined = counts[:, :2].sum(axis=1) > 0
    assert np.isnan(means[~defined]).all()
    expected = (counts[:, 0] + 2 * counts[:, 1])[defined] / counts[defined, :2].sum(axis=1)
    np.testing.assert_allclose(means[defined], expected)
