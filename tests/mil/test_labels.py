"""The patients of a fold, and null experiments."""

import numpy as np
import pandas as pd
import pytest

from mil.labels import FoldError, patients_sha256, read_fold

EVERYBODY = [f"{i:02d}" for i in range(12)]


@pytest.fixture
def tables(tmp_path):
    parts = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    pd.DataFrame({"patient_id": EVERYBODY, "part": parts}).to_csv(tmp_path / "f.csv", index=False)
    pd.DataFrame(
        {"patient_id": EVERYBODY, "time": np.arange(1.0, 13.0), "event": [1, 0, 1] * 4}
    ).to_csv(tmp_path / "p.csv", index=False)
    return tmp_path / "f.csv", tmp_path / "p.csv"


def test_ids_stay_text_and_patients_without_slides_are_listed(tables):
    people = read_fold(*tables, set(EVERYBODY) - {"01", "07"})
    assert people.skipped == ("01", "07")
    assert people.part("train")["patient_id"].tolist() == ["00", "02", "03", "04", "05"]
    assert people.part("train")["time"].tolist() == [1, 3, 4, 5, 6]


def test_permuted_labels_stay_in_their_part_and_in_pairs(tables):
    plain = read_fold(*tables, EVERYBODY).table
    null = read_fold(*tables, EVERYBODY, permute=1, seed=3, fold_index=0).table
    assert not (plain["time"] == null["time"]).all()
    for part in ("train", "validation", "test"):
        here = [t[t["part"] == part] for t in (plain, null)]
        pairs = [sorted(zip(t["time"], t["event"], strict=True)) for t in here]
        assert pairs[0] == pairs[1]
    again = read_fold(*tables, EVERYBODY, permute=1, seed=3, fold_index=0).table
    pd.testing.assert_frame_equal(again, null)
    other = read_fold(*tables, EVERYBODY, permute=2, seed=3, fold_index=0).table
    assert not (other["time"] == null["time"]).all()


def test_a_fold_may_have_no_test_part(tables):
    fold = pd.read_csv(tables[0], dtype=str)
    fold[fold["part"] != "test"].to_csv(tables[0], index=False)
    assert len(read_fold(*tables, EVERYBODY).part("test")) == 0


def test_folds_that_cannot_be_are_sentences(tables):
    with pytest.raises(FoldError, match="no validation patient has a usable slide"):
        read_fold(*tables, EVERYBODY[:6] + EVERYBODY[9:])
    with pytest.raises(FoldError, match="none of the 2 training patients has an event"):
        read_fold(*tables, ["01", "04", *EVERYBODY[6:]])
    fold = pd.read_csv(tables[0], dtype=str)
    fold.loc[0, "part"] = "training"
    fold.loc[1, "patient_id"] = "99"
    fold.loc[3, "patient_id"] = "02"
    fold.to_csv(tables[0], index=False)
    with pytest.raises(FoldError) as error:
        read_fold(*tables, EVERYBODY)
    assert len(error.value.problems) == 3  # all of them, not the first


def test_the_stamp_of_a_patient_list_does_not_depend_on_its_order():
    assert patients_sha256(["b", "a"]) == patients_sha256(["a", "b"])
    assert patients_sha256(["a"]) != patients_sha256(["a", "b"])
