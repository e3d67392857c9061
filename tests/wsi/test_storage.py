import json

import h5py
import numpy as np
import pytest

from wsi.storage import (
    Outcome,
    atomic,
    load_npz,
    read_features,
    read_outcome,
    save_npz,
    sha256_file,
    write_h5,
)

OK = Outcome("S1", "extract_features")
FAILED = Outcome("S1", "find_tissue", "failed", "slide S1: no tissue.", "no_tissue")


def test_a_failed_write_leaves_the_old_file_and_no_partial(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half():
        with atomic(target) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("outcome", [OK, FAILED])
def test_an_outcome_comes_back_from_every_kind_of_file(tmp_path, outcome):
    write_h5(tmp_path / "a.h5", outcome, {"coords": np.zeros((0, 2), np.int64)})
    save_npz(tmp_path / "a.npz", outcome, x=np.arange(3))
    (tmp_path / "a.geojson").write_text(json.dumps({"outcome": outcome.__dict__}))
    for name in ("a.h5", "a.npz", "a.geojson"):
        assert read_outcome(tmp_path / name) == outcome


def test_features_are_mapped_from_the_file_and_equal_what_h5py_reads(tmp_path):
    path = tmp_path / "s.h5"
    features = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    write_h5(path, OK, {"features": features, "coords": np.arange(10).reshape(5, 2)})
    mapped, coords, attributes = read_features(path)
    assert isinstance(mapped, np.memmap)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(mapped, file["features"][:])
    np.testing.assert_array_equal(mapped, features)
    np.testing.assert_array_equal(coords, np.arange(10).reshape(5, 2))
    assert attributes["slide"] == "S1"


def test_features_of_a_failed_slide_have_no_rows(tmp_path):
    path = tmp_path / "s.h5"
    empty = {"features": np.zeros((0, 0), np.float32), "coords": np.zeros((0, 2), np.int64)}
    write_h5(path, FAILED, empty)
    assert len(read_features(path)[0]) == 0


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_npz(tmp_path / f"{name}.npz", OK, {"k": 3}, x=np.arange(4), y=np.array(["u"]))
        write_h5(
            tmp_path / f"{name}.h5", OK, {"coords": np.arange(4).reshape(2, 2)}, {"mpp0": 0.25}
        )
    assert sha256_file(tmp_path / "a.npz") == sha256_file(tmp_path / "b.npz")
    assert sha256_file(tmp_path / "a.h5") == sha256_file(tmp_path / "b.h5")
    arrays, attributes = load_npz(tmp_path / "a.npz")
    assert attributes["k"] == 3
    assert attributes["outcome"]["slide"] == "S1"
    np.testing.assert_array_equal(arrays["x"], np.arange(4))
