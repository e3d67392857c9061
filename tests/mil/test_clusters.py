import warnings

import numpy as np
import pytest

from mil.clusters import cluster_patches
from mil.kmeans import kmeans
from mil.problems import InputError
from mil.seeds import seed_for
from wsi.storage import Outcome, load_npz, read_outcome, sha256_file, write_h5


@pytest.fixture
def write_slide(tmp_path):
    def write(slide, features):
        path = tmp_path / f"{slide}.h5"
        if features is None:
            outcome = Outcome(slide, "find_tissue", "failed", f"slide {slide}: no.", "no_tissue")
            features = np.zeros((0, 0), np.float32)
        else:
            outcome = Outcome(slide, "extract_features")
        coords = np.zeros((len(features), 2), np.int64)
        write_h5(path, outcome, {"features": np.float32(features), "coords": coords})
        return str(path)

    return write


@pytest.fixture
def run(tmp_path, write_slide):
    def run(slides, k=8, patient="P1", name="P1.npz", seed=42):
        files = [write_slide(slide, features) for slide, features in slides.items()]
        cluster_patches(
            patient_id=patient,
            slides=list(slides),
            features=files,
            clusters=str(tmp_path / name),
            k=k,
            seed=seed,
        )
        return tmp_path / name

    return run


def blobs(centres, each, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(c, 0.01, (each, 5)) for c in centres])


def test_groups_that_lie_apart_are_found_over_all_slides_of_the_patient(run):
    path = run({"S2": blobs([0, 1, 2], 10), "S1": blobs([2, 3], 10, seed=1)}, k=4)
    arrays, _ = load_npz(path)
    groups = arrays["cluster"].reshape(5, 10)
    assert arrays["cluster"].dtype == np.int32
    assert (groups == groups[:, :1]).all()  # one id a group
    # the third group of the first slide is the first of the second
    np.testing.assert_array_equal(groups[2], groups[3])
    assert sorted(set(groups[:, 0])) == [0, 1, 2, 3]


def test_slides_and_rows_are_in_the_order_given_without_the_failed_ones(run):
    path = run({"S9": blobs([0], 7), "S5": None, "S1": blobs([1], 4)}, k=2)
    arrays, _ = load_npz(path)
    assert arrays["slides"].tolist() == ["S9", "S1"]
    assert arrays["rows"].tolist() == [7, 4]
    cluster = arrays["cluster"]
    assert len(cluster) == 11
    assert len(set(cluster[:7])) == len(set(cluster[7:])) == 1
    assert cluster[0] != cluster[7]


def test_fewer_patches_than_clusters_are_a_cluster_each(run):
    arrays, attributes = load_npz(run({"S1": np.eye(5)}, k=8))
    assert sorted(arrays["cluster"]) == [0, 1, 2, 3, 4]
    assert attributes["k"] == 8


@pytest.mark.parametrize("rows", [1, 30])
def test_equal_patches_are_one_cluster_without_a_warning(run, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays, _ = load_npz(run({"S1": np.ones((rows, 5))}, k=8))
    np.testing.assert_array_equal(arrays["cluster"], np.zeros(rows))


def test_labels_are_those_of_the_seed_of_the_patient(run):
    # without groups to find, another seed ends elsewhere
    features = np.random.default_rng(3).random((60, 5), dtype=np.float32)
    cluster = load_npz(run({"S1": features[:20], "S2": features[20:]}))[0]["cluster"]
    seed = seed_for(42, "clusters", "P1") % 2**32
    np.testing.assert_array_equal(cluster, kmeans(features, 8, seed))
    assert (cluster != kmeans(features, 8, seed + 1)).any()


def test_the_same_patient_gives_the_same_bytes_twice(run):
    slides = {"S1": np.random.default_rng(0).random((60, 5))}
    first, again = run(slides, name="a.npz"), run(slides, name="b.npz")
    assert sha256_file(first) == sha256_file(again)


def test_labels_of_a_patient_do_not_depend_on_what_was_drawn_before(run):
    slides = {"S1": np.random.default_rng(0).random((60, 5))}
    expected = load_npz(run(slides, name="a.npz"))[0]["cluster"]
    np.random.seed(5)  # noqa: NPY002
    run(slides, patient="P2", name="P2.npz")
    np.testing.assert_array_equal(load_npz(run(slides, name="b.npz"))[0]["cluster"], expected)


def test_a_patient_without_a_usable_slide_is_an_outcome_that_names_them(run):
    outcome = read_outcome(run({"S1": None, "S2": None}))
    assert not outcome.ok
    assert outcome.slide == "P1"
    assert outcome.reason == "patient P1: none of the slides S1, S2 can be used."


def test_slides_of_two_widths_are_refused_in_words(tmp_path):
    files = []
    for slide, width in (("S1", 5), ("S2", 6)):
        files.append(str(tmp_path / f"{slide}.h5"))
        datasets = {"features": np.ones((16, width), np.float32), "coords": np.zeros((16, 2), int)}
        write_h5(files[-1], Outcome(slide, "import_features"), datasets)
    with pytest.raises(InputError, match=r"patient P1: .* differ in width \(S1 5, S2 6\)"):
        cluster_patches(
            patient_id="P1",
            slides=["S1", "S2"],
            features=files,
            clusters=str(tmp_path / "P1.npz"),
            k=8,
            seed=42,
        )
