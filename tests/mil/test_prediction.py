"""The three files of a prediction."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from synthetic_cohort import run, write_cohort

from mil.bag_folder import BagFolder
from mil.contributions import contributions
from mil.network import build_network
from mil.prediction import load_network, predict_fold, predict_patients, prediction_noise
from mil.slide_scores import read_attention, read_slide_scores
from mil.stored_curves import read_curves
from mil.survival.breslow import breslow_baseline
from mil.survival.curves import curves_of_cox
from wsi.storage import load_npz

KEYS = {"epochs": 6, "draws": 40}
SMALL = {"model_options": {"hidden": 16, "out": 16}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = write_cohort(tmp_path_factory.mktemp("cohort"), patients=16, slides=2, patches=16)
    run(root, "adversarial", options=SMALL, **KEYS)
    run(root, "nll", out="nll", options=SMALL, **KEYS)
    run(root, "cox", out="cox", options=SMALL, **KEYS)
    return root


def test_predictions_are_in_the_order_of_the_fold(cohort):
    predictions = pd.read_csv(cohort / "out/predictions.csv")
    fold = pd.read_csv(cohort / "fold0.csv")
    columns = ["patient_id", "part", "time", "event", "risk", "predicted_time", "time_flag"]
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


def test_a_cox_head_has_the_baseline_and_the_medians_of_its_training_part(cohort):
    predictions = pd.read_csv(cohort / "cox/predictions.csv", keep_default_na=False)
    numbers = predictions[["time", "event", "risk", "predicted_time"]].apply(pd.to_numeric)
    train = numbers[predictions["part"] == "train"]
    curves = curves_of_cox(
        breslow_baseline(*train[["time", "event", "risk"]].T.values), numbers.risk
    )
    median = curves.median
    reached = np.isfinite(median)
    np.testing.assert_allclose(numbers["predicted_time"][reached], median[reached], rtol=1e-8)
    assert numbers["predicted_time"][~reached].isna().all()
    expected = np.where(reached, "", "not reached")
    assert predictions["time_flag"].tolist() == expected.tolist()

    stored = read_curves(predictions.assign(risk=numbers.risk), cohort / "cox/draws.npz")
    grid = np.linspace(0, numbers["time"].max(), 20)
    np.testing.assert_allclose(stored.at(grid), curves.at(grid), atol=1e-6)
    _, attributes = load_npz(cohort / "cox/draws.npz")
    made = yaml.safe_load((cohort / "cox/config.yaml").read_text())
    known = made["fitted"]["training_patients_sha256"]
    assert attributes["training_patients_sha256"] == known


def test_medians_of_time_bins_that_are_not_reached_say_so(cohort):
    predictions = pd.read_csv(cohort / "nll/predictions.csv", keep_default_na=False)
    curves = read_curves(predictions, cohort / "nll/draws.npz")
    beyond = np.isinf(curves.median)
    assert predictions["time_flag"].tolist() == np.where(beyond, "last edge", "").tolist()
    time = np.where(beyond, curves.end, curves.median)
    np.testing.assert_allclose(predictions["predicted_time"].astype(float), time, rtol=1e-8)


def test_a_collapse_on_the_test_part_is_an_alarm(cohort, caplog):
    """Six epochs at random weights: the draws are either spread, or the file and the log say so."""
    state = load_file(cohort / "out/model.safetensors")
    last = state["head.layers.1.weight"]
    last[:, last.shape[1] // 2 :] = 0  # what the noise is multiplied by
    save_file(state, cohort / "flat.safetensors")
    predict_fold(
        model=cohort / "flat.safetensors",
        config=cohort / "out/config.yaml",
        cohort=cohort / "cohort.csv",
        patients=cohort / "patients.csv",
        fold=cohort / "fold0.csv",
        root=cohort,
        predictions=cohort / "flat/p.csv",
        draws=cohort / "flat/d.npz",
        attention=cohort / "flat/a.npz",
    )
    alarms = load_npz(cohort / "flat/d.npz")[0]["alarms"].tolist()
    assert any("the draws of a patient hardly differ" in alarm for alarm in alarms)
    assert all(alarm in caplog.text for alarm in alarms)
    assert not any("hardly differ" in a for a in load_npz(cohort / "out/draws.npz")[0]["alarms"])


def test_attention_of_test_patients_sums_to_one_over_their_slides(cohort):
    attention = read_attention(cohort / "out/attention.npz")
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


@pytest.mark.parametrize("out", ["out", "nll", "cox"])
def test_contributions_of_a_test_patient_are_those_of_its_whole_bag(cohort, out):
    """They lie beside the attention, slide by slide, with the slope of what was predicted."""
    path = cohort / out / "attention.npz"
    made = yaml.safe_load((cohort / out / "config.yaml").read_text())
    network = load_network(cohort / out / "model.safetensors", made, torch.device("cpu"))
    bags = BagFolder(cohort / "cohort.csv", cohort)
    patient = next(iter(read_attention(path))).split("-")[0]
    bag = bags.load([patient], ())
    with torch.no_grad():
        embedding = network.model(network.scaled(bag))
    noise = prediction_noise(network, bag, made["experiment"]["training"]["draws"], made["seed"])
    expected = contributions(network, embedding, bag.offsets, noise)
    found = [read_slide_scores([path], f"{patient}-{s}") for s in (0, 1)]
    assert [(one.towards, one.exact) for one in found] == [(("risk",), False)] * 2
    stored = np.concatenate([one.contribution for one in found])
    np.testing.assert_allclose(stored, expected.values.numpy(), rtol=1e-5, atol=1e-8)
    assert np.abs(stored).max() > 0


def test_of_random_attention_the_spread_is_kept_slide_by_slide(cohort):
    torch.manual_seed(0)
    experiment = {"model": "prob_smooth_abmil", "head": "cox", "training": {"draws": 1}}
    options = {"hidden": 8, "attention": 4, "evaluation_samples": 20}
    bags = BagFolder(cohort / "cohort.csv", cohort)
    network = build_network(experiment | {"model_options": options}, bags.width, {}, False).eval()
    made = {"experiment": experiment, "seed": 1}
    ((_, found),) = predict_patients(network, bags, ["P003"], made, torch.device("cpu"))
    bag = bags.load(["P003"], ("graph",))
    with torch.no_grad():
        samples = network.model(bag).samples.numpy()
    assert list(found) == ["P003-0", "P003-1"]
    stored = np.concatenate([one.spread for one in found.values()])
    np.testing.assert_allclose(stored, samples.std(1), rtol=1e-5)
    assert (stored > 0).all()
    plain = read_slide_scores([cohort / "cox/attention.npz"], next(iter(
        read_attention(cohort / "cox/attention.npz"))))  # fmt: skip
    assert plain.spread is None
