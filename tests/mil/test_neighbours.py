import numpy as np
import pytest
from exact_neighbours import brute_force, grid_points

from mil.neighbours import latent_neighbours, spatial_neighbours


def test_the_four_corners_of_a_square_worked_out_by_hand():
    # 0 and 1 on top, 2 and 3 below: side neighbours tie, the lower index comes first
    found = spatial_neighbours(grid_points(2, 2), 8)
    np.testing.assert_array_equal(found, [[1, 2, 3], [0, 3, 2], [0, 3, 1], [1, 2, 0]])


def test_inside_a_grid_the_neighbours_are_the_eight_around():
    found = spatial_neighbours(grid_points(5, 5), 8)
    np.testing.assert_array_equal(found[12], [7, 11, 13, 17, 6, 8, 16, 18])


@pytest.mark.parametrize("n", [1, 2, 8, 9, 10, 25, 26, 300])
def test_space_equals_brute_force_on_random_points_with_ties(n):
    points = np.random.default_rng(n).integers(0, 12, (n, 2)) * 1024  # equal places too
    np.testing.assert_array_equal(spatial_neighbours(points, 8), brute_force(points, 8))


def test_space_equals_brute_force_on_grid_order_of_a_slide():
    shuffled = np.random.default_rng(3).permutation(grid_points(13, 17))
    np.testing.assert_array_equal(spatial_neighbours(shuffled, 8), brute_force(shuffled, 8))


def test_space_keeps_the_tie_rule_when_more_points_tie_than_are_asked_for_first():
    side = range(-80, 81)
    circle = [(x, y) for x in side for y in side if x * x + y * y == 5525]
    assert len(circle) == 48
    points = np.random.default_rng(0).permutation([(0, 0), *circle])
    np.testing.assert_array_equal(spatial_neighbours(points, 8), brute_force(points, 8))


def test_space_keeps_the_tie_rule_when_all_points_are_one():
    points = np.full((90, 2), 7)
    np.testing.assert_array_equal(spatial_neighbours(points, 8), brute_force(points, 8))


@pytest.mark.parametrize("n", [1, 2, 8, 9, 10, 200])
def test_latent_equals_brute_force_in_double_precision(n):
    # squared norms are 10,000 times the squared distances: single precision alone fails
    rng = np.random.default_rng(n)
    features = (rng.normal(size=(n, 64)) + 100).astype(np.float32)
    np.testing.assert_array_equal(latent_neighbours(features, 8), brute_force(features, 8))


def test_latent_over_several_blocks_equals_brute_force():
    features = np.random.default_rng(1).random((1100, 8), dtype=np.float32)
    features[1030:1080] = features[5]
    np.testing.assert_array_equal(latent_neighbours(features, 8), brute_force(features, 8))


@pytest.mark.parametrize("copies", [10, 24, 25, 26, 80])
def test_latent_keeps_the_tie_rule_among_equal_rows(copies):
    # bare glass: many patches of a slide have the very same features
    rng = np.random.default_rng(copies)
    features = rng.random((120, 16), dtype=np.float32)
    features[rng.permutation(120)[:copies]] = 0.5
    np.testing.assert_array_equal(latent_neighbours(features, 8), brute_force(features, 8))


def test_thousands_of_equal_points_cost_no_more_than_others():
    # comparing all with all would take 1.6e9 distances
    points = np.concatenate([np.full((40_000, 2), 7), [(7, 8), (9, 9)]])
    found = spatial_neighbours(points, 8)
    np.testing.assert_array_equal(found[0], range(1, 9))
    np.testing.assert_array_equal(found[39_999], range(8))
    np.testing.assert_array_equal(found[40_000], range(8))


@pytest.mark.parametrize("k", [1, 3, 12, 20])
def test_space_equals_brute_force_for_other_numbers_of_neighbours(k):
    points = np.random.default_rng(k).permutation(grid_points(9, 11))
    np.testing.assert_array_equal(spatial_neighbours(points, k), brute_force(points, k))


def test_latent_keeps_the_order_of_rows_that_single_precision_cannot_tell_apart():
    # distances differ in the eighth digit, norms are far larger
    rng = np.random.default_rng(2)
    features = np.full((200, 16), 1000.0)
    features[:, 0] += rng.permutation(200) / 64
    features[::2, 1] += 2000
    features = features.astype(np.float32)
    np.testing.assert_array_equal(latent_neighbours(features, 8), brute_force(features, 8))


def test_latent_of_half_precision_is_that_of_its_values():
    features = np.random.default_rng(4).random((150, 32)).astype(np.float16)
    np.testing.assert_array_equal(latent_neighbours(features, 8), brute_force(features, 8))


@pytest.mark.parametrize("copies", [0, 60])
def test_latent_is_the_same_with_the_products_of_pytorch(copies):
    features = np.random.default_rng(5).random((700, 24), dtype=np.float32)
    features[100 : 100 + copies] = features[3]
    found = latent_neighbours(features, 8, device="cpu:0")  # as on a GPU, on this machine's cores
    np.testing.assert_array_equal(found, brute_force(features, 8))


def test_latent_equals_scikit_learn_where_nothing_ties():
    neighbors = pytest.importorskip("sklearn.neighbors")
    features = np.random.default_rng(6).normal(size=(1500, 64)).astype(np.float32)
    other = neighbors.NearestNeighbors(n_neighbors=9, algorithm="kd_tree").fit(features)
    index = other.kneighbors(features, return_distance=False)
    np.testing.assert_array_equal(latent_neighbours(features, 8), index[:, 1:])
