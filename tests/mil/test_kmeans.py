import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mil.kmeans import STARTS, kmeans

cluster = pytest.importorskip("sklearn.cluster")
metrics = pytest.importorskip("sklearn.metrics")


def tissue(n, width=64, seed=0):
    """Features as an encoder's: kinds of tissue of unequal size that run into each other, ReLU."""
    rng = np.random.default_rng(seed)
    kinds = rng.gamma(1, 0.4, (12, width))[rng.choice(12, n, p=rng.dirichlet(np.full(12, 0.4)))]
    along = rng.normal(size=(n, 10)) @ rng.normal(size=(10, width)) * 0.15
    return np.maximum(kinds + along + 0.15 * rng.normal(size=(n, width)), 0).astype(np.float32)


def with_glass(n):
    features = tissue(n, seed=1)
    features[np.random.default_rng(0).random(n) < 0.4] = 0.5
    return features


def heavy_and_light(n):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(n, 16)) * 0.01
    features[: n // 100] += 5
    features[:3] -= 9
    return features.astype(np.float32)


DATA = {
    "tissue": tissue(3000),
    "glass": with_glass(1500),
    "half precision": tissue(1000, seed=3).astype(np.float16),
    "no groups": np.random.default_rng(1).random((800, 32), dtype=np.float32),
    "far from zero": tissue(600, seed=4) + np.float32(1000),
    "few rows": np.random.default_rng(3).random((60, 5), dtype=np.float32),
}


def inertia(features, labels):
    features = features.astype(np.float64)
    return sum(
        ((features[labels == j] - features[labels == j].mean(axis=0)) ** 2).sum()
        for j in np.unique(labels)
    )


def reference(features, k, starts=STARTS):
    means = cluster.KMeans(k, n_init=starts, random_state=7)
    return means.fit_predict(features.astype(np.float32))


@pytest.mark.parametrize("features", DATA.values(), ids=DATA)
def test_clusters_are_those_of_scikit_learn(features):
    labels, expected = kmeans(features, 8, seed=7), reference(features, 8)
    # a row halfway between two centres may fall either way
    assert metrics.adjusted_rand_score(expected, labels) > 0.999
    assert inertia(features, labels) < 1.0001 * inertia(features, expected)
    assert set(labels) == set(range(8))


def test_rare_rows_far_away_leave_the_inertia_that_of_scikit_learn():
    # the heavy group dwarfs the tolerance: which of its equally good parts are found is chance
    features = heavy_and_light(1000)
    labels, expected = kmeans(features, 8, seed=7), reference(features, 8)
    assert inertia(features, labels) < 1.01 * inertia(features, expected)
    assert len(set(labels[:3])) == len(set(labels[3:10])) == 1
    assert len({labels[0], labels[3], *labels[10:]}) == 8


def test_the_best_of_ten_starts_is_not_the_first():
    features = DATA["few rows"]
    once = inertia(features, reference(features, 8, starts=1))
    assert inertia(features, kmeans(features, 8, seed=7)) < 0.99 * once


@pytest.mark.parametrize("k", [2, 3, 20])
def test_clusters_are_those_of_scikit_learn_for_other_numbers_of_them(k):
    features = DATA["no groups"]
    expected = reference(features, k)
    assert metrics.adjusted_rand_score(expected, kmeans(features, k, seed=7)) == 1.0


def test_no_more_clusters_than_different_rows():
    three = np.repeat(np.eye(3, dtype=np.float32), [500, 2, 1], axis=0)
    labels = kmeans(three, 8, seed=0)
    assert metrics.adjusted_rand_score(three.argmax(axis=1), labels) == 1.0
    assert set(labels) == {0, 1, 2}
    np.testing.assert_array_equal(kmeans(np.zeros((4, 3), np.float32), 8, seed=0), np.zeros(4))
    assert sorted(kmeans(np.eye(5, dtype=np.float32), 8, seed=0)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_stays_empty_where_rows_lie_almost_on_one_another(seed):
    # single precision takes rows of a pile for one another: some centres win no row at first
    rng = np.random.default_rng(seed)
    piles = rng.random((3, 8)).repeat([400, 30, 4], axis=0) * 100
    features = (piles + rng.normal(size=piles.shape) * 1e-4).astype(np.float32)
    labels = kmeans(features, 12, seed=seed)
    assert set(labels) == set(range(12))


def test_labels_do_not_depend_on_threads_or_on_the_rows_of_a_product(monkeypatch):
    features = tissue(2500, width=256, seed=5)
    with threadpool_limits(1):
        one = kmeans(features, 8, seed=1)
    with threadpool_limits(2):
        two = kmeans(features, 8, seed=1)
    monkeypatch.setattr("mil.kmeans.BLOCK", 300)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, kmeans(features, 8, seed=1))
