"""Scores of slides on disk."""

import numpy as np

from mil.slide_scores import (
    SlideScores,
    read_attention,
    read_slide_scores,
    scored_slides,
    write_slide_scores,
)
from wsi.storage import save_npz


def scores(shift=0.0, contribution=True):
    attention = np.array([0.25, 0.75], np.float32) + np.float32(shift)
    given = np.array([[1.0], [-2.0]], np.float32) + np.float32(shift)
    return SlideScores(attention, given if contribution else None, towards=("risk",), exact=True)


def test_what_is_written_is_read(tmp_path):
    write_slide_scores(tmp_path / "a.npz", {"S.1": scores(), "S2": scores(1.0)})
    assert scored_slides(tmp_path / "a.npz") == ["S.1", "S2"]
    assert list(read_attention(tmp_path / "a.npz")) == ["S.1", "S2"]
    found = read_slide_scores([tmp_path / "a.npz"], "S2")
    np.testing.assert_array_equal(found.attention, [1.25, 1.75])
    np.testing.assert_array_equal(found.contribution, [[2.0], [-1.0]])
    assert (found.kind, found.towards, found.exact) == ("attention", ("risk",), True)


def test_several_models_are_averaged(tmp_path):
    for k in range(3):
        write_slide_scores(tmp_path / f"{k}.npz", {"S": scores(k)})
    found = read_slide_scores([tmp_path / f"{k}.npz" for k in range(3)], "S")
    np.testing.assert_allclose(found.attention, [1.25, 1.75])
    np.testing.assert_allclose(found.contribution, [[2.0], [-1.0]])


def test_contributions_of_some_models_alone_are_none(tmp_path):
    write_slide_scores(tmp_path / "0.npz", {"S": scores()})
    write_slide_scores(tmp_path / "1.npz", {"S": scores(contribution=False)})
    assert read_slide_scores([tmp_path / "0.npz", tmp_path / "1.npz"], "S").contribution is None


def test_spread_of_random_attention(tmp_path):
    for k in range(2):
        spread = np.array([0.1, 0.3], np.float32) * (k + 1)
        one = SlideScores(np.array([0.5, 0.5], np.float32), spread=spread)
        write_slide_scores(tmp_path / f"{k}.npz", {"S": one, "T": one})
    assert scored_slides(tmp_path / "0.npz") == ["S", "T"]
    assert list(read_attention(tmp_path / "0.npz")) == ["S", "T"]
    found = read_slide_scores([tmp_path / "0.npz", tmp_path / "1.npz"], "T")
    np.testing.assert_allclose(found.spread, [0.15, 0.45], rtol=1e-6)
    write_slide_scores(tmp_path / "2.npz", {"T": scores()})
    assert read_slide_scores([tmp_path / "0.npz", tmp_path / "2.npz"], "T").spread is None


def test_probabilities_of_patches(tmp_path):
    for k in range(2):
        given = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32) + np.float32(0.25 * k)
        one = SlideScores(
            np.array([0.5, 0.5], np.float32), probability=given, classes=("no", "yes")
        )
        write_slide_scores(tmp_path / f"{k}.npz", {"S": one})
    assert scored_slides(tmp_path / "0.npz") == ["S"]
    found = read_slide_scores([tmp_path / "0.npz", tmp_path / "1.npz"], "S")
    np.testing.assert_allclose(found.probability, [[0.625, 0.625], [0.375, 0.875]])
    assert found.classes == ("no", "yes")
    assert read_slide_scores([tmp_path / "0.npz"], "S").contribution is None


def test_a_file_of_attention_alone_is_read_as_before(tmp_path):
    save_npz(tmp_path / "old.npz", S=np.array([0.5, 0.5], np.float32))
    found = read_slide_scores([tmp_path / "old.npz"], "S")
    assert (found.contribution, found.kind, found.towards) == (None, "attention", ())


def test_no_test_patient_is_an_empty_file(tmp_path):
    write_slide_scores(tmp_path / "none.npz", {})
    assert scored_slides(tmp_path / "none.npz") == []
