import numpy as np
import pytest

from mil.graphs import build_graph, edges, latent_neighbours, spatial_neighbours
from wsi.storage import Outcome, load_npz, read_outcome, sha256_file, write_h5


def brute_force(points, k):
    """All distances in double precision; of equal distance the lower index, never oneself."""
    points = np.asarray(points, np.float64)
    expected = np.empty((len(points), min(k, len(points) - 1)), np.int64)
    for i, point in enumerate(points):
        distance = ((points - point) ** 2).sum(axis=1)
        order = sorted((d, j) for j, d in enumerate(distance) if j != i)
        expected[i] = [j for _, j in order[:k]]
    return expected


def grid_points(rows, columns, step=1024):
    y, x = np.mgrid[:rows, :columns] * step
    return np.stack([x.ravel(), y.ravel()], axis=1)


def write_features(path, features, coords, footprint=1024):
    attributes = {"footprint0": footprint, "sha256": "f" * 64}
    write_h5(
        path,
        Outcome("S1", "extract_features"),
        {"features": features, "coords": coords},
        attributes,
    )


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


def test_space_keeps_the_tie_rule_when_more_points_tie_than_are_looked_at_first():
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


def test_edges_run_from_the_querying_node_to_its_neighbours_by_rank():
    found = edges(np.array([[2, 1], [0, 2], [1, 0]]))
    np.testing.assert_array_equal(found, [[0, 0, 1, 1, 2, 2], [2, 1, 0, 2, 1, 0]])
    assert found.dtype == np.int64


def test_a_graph_file_has_eight_edges_a_node_no_loops_and_centres(tmp_path):
    coords = grid_points(4, 5)
    features = np.random.default_rng(0).random((20, 6), dtype=np.float32)
    write_features(tmp_path / "S1.h5", features, coords)
    outcome = build_graph(
        slide_id="S1",
        features=str(tmp_path / "S1.h5"),
        graph=str(tmp_path / "S1.npz"),
        neighbours=8,
    )
    assert outcome.ok
    arrays, attributes = load_npz(tmp_path / "S1.npz")
    for name, points in (("edge_index", coords), ("edge_latent", features)):
        assert arrays[name].shape == (2, 160)
        assert (arrays[name][0] != arrays[name][1]).all()
        np.testing.assert_array_equal(np.bincount(arrays[name][0]), np.full(20, 8))
        np.testing.assert_array_equal(arrays[name][1].reshape(20, 8), brute_force(points, 8))
    np.testing.assert_array_equal(arrays["centroid"], (coords + 512).astype(np.float32))
    assert attributes["features_sha256"] == "f" * 64
    assert attributes["neighbours"] == 8


def test_a_slide_of_one_patch_has_a_graph_without_edges(tmp_path):
    write_features(tmp_path / "S1.h5", np.ones((1, 4), np.float32), np.zeros((1, 2), np.int64))
    build_graph(
        slide_id="S1", features=str(tmp_path / "S1.h5"), graph=str(tmp_path / "g.npz"), neighbours=8
    )
    arrays, _ = load_npz(tmp_path / "g.npz")
    assert arrays["edge_index"].shape == arrays["edge_latent"].shape == (2, 0)
    assert arrays["edge_index"].dtype == np.int64
    assert len(arrays["centroid"]) == 1


def test_the_same_features_give_the_same_bytes(tmp_path):
    features = np.random.default_rng(0).random((40, 6), dtype=np.float32)
    write_features(tmp_path / "S1.h5", features, grid_points(5, 8))
    for name in ("a.npz", "b.npz"):
        build_graph(
            slide_id="S1",
            features=str(tmp_path / "S1.h5"),
            graph=str(tmp_path / name),
            neighbours=8,
        )
    assert sha256_file(tmp_path / "a.npz") == sha256_file(tmp_path / "b.npz")


def test_a_failed_slide_passes_its_outcome_on(tmp_path):
    failed = Outcome("S1", "find_tissue", "failed", "slide S1: no tissue.", "no_tissue")
    empty = {"features": np.zeros((0, 0), np.float32), "coords": np.zeros((0, 2), np.int64)}
    write_h5(tmp_path / "S1.h5", failed, empty)
    build_graph(
        slide_id="S1", features=str(tmp_path / "S1.h5"), graph=str(tmp_path / "g.npz"), neighbours=8
    )
    assert read_outcome(tmp_path / "g.npz") == failed
