"""The three files of a prediction."""

import numpy as np
import pandas as pd
import pytest
from synthetic_cohort import run, write_cohort

from mil.prediction import predict_fold
from wsi.storage import load_npz

KEYS = {"epochs": 6, "draws": 40}
SMALL = {"model_options": {"hidden": 16, "out": 16}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = write_cohort(tmp_path_factory.mktemp("cohort"), patients=16, slides=2, patches=16)
    run(root, "adversarial", options=SMALL, **KEYS)
    run(root, "nll", out="nll", options=SMALL, **KEYS)
    return root


def test_predictions_are_in_the_order_of_the_fold(cohort):
    predictions = pd.read_csv(cohort / "out/predictions.csv")
    fold = pd.read_csv(cohort / "fold0.csv")
    columns = ["patient_id", "part", "time", "event", "risk", "predicted_time"]
    assert list(predictions.columns) == columns
    pd.testing.assert_frame_equal(predictions[["patient_id", "part"]], fold)
    np.testing.assert_allclose(predictions["risk"], -predictions["predicted_time"], rtol=1e-8)


def test_the_predicted_time_is_the_median_of_the_stored_draws(cohort):
    predictions = pd.read_csv(cohort / "out/predictions.csv")
    arrays, _ = load_npz(cohort / "out/draws.npz")
    assert arrays["patient_id"].tolist() == predictions["patient_id"].tolist()
    assert arrays["draws"].shape == (16, 40)
    median = np.sort(arrays["draws"], axis=1)[:, 19]  # the lower middle one of 40
    np.testing.assert_allclose(median, predictions["predicted_time"], rtol=1e-5)
    assert (arrays["draws"].std(axis=1) > 0).all()


def test_time_bins_are_stored_with_their_edges(cohort):
    arrays, _ = load_npz(cohort / "nll/draws.npz")
    assert arrays["edges"][0] == 0
    assert np.isinf(arrays["edges"][-1])
    assert arrays["survival"].shape == (16, len(arrays["edges"]) - 1)
    assert (np.diff(arrays["survival"], axis=1) < 0).all()
    assert arrays["draws"].shape == (16, 0)


def test_attention_of_test_patients_sums_to_one_over_their_slides(cohort):
    attention, _ = load_npz(cohort / "out/attention.npz")
    fold = pd.read_csv(cohort / "fold0.csv")
    tests = fold.loc[fold["part"] == "test", "patient_id"]
    assert sorted(attention) == sorted(f"{p}-{s}" for p in tests for s in (0, 1))
    for patient in tests:
        both = [attention[f"{patient}-{s}"] for s in (0, 1)]
        assert all(part.shape == (16,) and part.dtype == np.float32 for part in both)
        assert sum(part.sum() for part in both) == pytest.approx(1, abs=1e-5)


def test_a_patient_is_predicted_the_same_without_the_others(cohort, tmp_path):
    """Nothing but the stored files and the patient's own slides makes its prediction."""
    fold = pd.read_csv(cohort / "fold0.csv")
    fold.groupby("part").head(1).to_csv(tmp_path / "few.csv", index=False)
    predict_fold(
        model=cohort / "out/model.safetensors",
        config=cohort / "out/config.yaml",
        cohort=cohort / "cohort.csv",
        patients=cohort / "patients.csv",
        fold=tmp_path / "few.csv",
        root=cohort,
        predictions=tmp_path / "p.csv",
        draws=tmp_path / "d.npz",
        attention=tmp_path / "a.npz",
    )
    few = pd.read_csv(tmp_path / "p.csv").set_index("patient_id")
    whole = pd.read_csv(cohort / "out/predictions.csv").set_index("patient_id")
    assert len(few) == 3
    pd.testing.assert_frame_equal(few, whole.loc[few.index])
