import numpy as np
from exact_neighbours import brute_force, grid_points

from mil.cohort import STATISTICS
from mil.graphs import build_graph, edges, statistics
from wsi.grid import children
from wsi.storage import Outcome, load_npz, read_outcome, sha256_file, write_h5


def write_features(path, features, coords, footprint=1024):
    attributes = {"footprint0": footprint, "sha256": "f" * 64}
    write_h5(
        path,
        Outcome("S1", "extract_features"),
        {"features": features, "coords": coords},
        attributes,
    )


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


def test_without_latent_edges_the_file_says_so(tmp_path):
    coords = grid_points(4, 5)
    write_features(tmp_path / "S1.h5", np.ones((20, 6), np.float32), coords)
    build_graph(
        slide_id="S1",
        features=str(tmp_path / "S1.h5"),
        graph=str(tmp_path / "g.npz"),
        neighbours=8,
        latent=False,
    )
    arrays, attributes = load_npz(tmp_path / "g.npz")
    assert arrays["edge_index"].shape == (2, 160)
    assert arrays["edge_latent"].shape == (2, 0)
    assert arrays["edge_latent"].dtype == np.int64
    assert attributes["latent"] is False


def test_statistics_of_a_graph_worked_out_by_hand():
    # three patches in a row and two far away: everybody names its two nearest
    coords = np.array([(0, 0), (10, 0), (20, 0), (1000, 0), (1000, 10)])
    chosen = edges(np.array([[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]))
    assert statistics(chosen, coords, far=20) == {
        "in_degree_min": 1,
        "in_degree_median": 2.0,
        "in_degree_max": 4,
        "pieces": 1,
        "long_edges": 0.2,
    }
    apart = chosen[:, [0, 1, 2, 3, 4, 5, 6, 8]]  # the far two name nobody but each other
    assert statistics(apart, coords, far=20)["pieces"] == 2
    assert statistics(apart, coords, far=20)["long_edges"] == 0.0


def test_a_graph_file_tells_its_statistics(tmp_path):
    write_features(tmp_path / "S1.h5", np.ones((25, 6), np.float32), grid_points(5, 5))
    build_graph(
        slide_id="S1", features=str(tmp_path / "S1.h5"), graph=str(tmp_path / "g.npz"), neighbours=8
    )
    arrays, attributes = load_npz(tmp_path / "g.npz")
    degree = np.bincount(arrays["edge_index"][1], minlength=25)
    assert attributes["in_degree_min"] == degree.min()
    assert attributes["in_degree_max"] == degree.max()
    assert attributes["pieces"] == 1
    # longer than two patches: three of each corner, (2, 1), (1, 2) and (2, 2) away, and one of
    # each patch beside a corner
    assert attributes["long_edges"] == 20 / 200


def test_the_cohort_lists_every_statistic():
    found = statistics(np.array([[0, 1], [1, 0]]), grid_points(1, 2), far=1.0)
    assert tuple(found) == STATISTICS


def test_a_patch_alone_has_statistics_too():
    found = statistics(np.zeros((2, 0), np.int64), np.zeros((1, 2), np.int64), far=1.0)
    assert found["in_degree_max"] == 0
    assert found["pieces"] == 1
    assert found["long_edges"] == 0.0


def test_patches_at_legacy_offsets_are_joined_within_their_region(tmp_path):
    """Advmil 1.4: blocks of 1792 in regions of 4096, patches of 1024."""
    coords = children(np.array([[0, 0], [4096, 0]]), 256)
    features = np.random.default_rng(0).random((32, 6), dtype=np.float32)
    write_features(tmp_path / "S1.h5", features, coords)
    build_graph(
        slide_id="S1", features=str(tmp_path / "S1.h5"), graph=str(tmp_path / "g.npz"), neighbours=8
    )
    arrays, attributes = load_npz(tmp_path / "g.npz")
    source, target = arrays["edge_index"]
    np.testing.assert_array_equal(target.reshape(32, 8), brute_force(coords, 8))
    assert (source // 16 == target // 16).all()
    assert (attributes["pieces"], attributes["long_edges"]) == (2, 0)
    np.testing.assert_array_equal(arrays["centroid"][17], [4096 + 256 + 512, 512])
