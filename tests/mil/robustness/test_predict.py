"""Predictions of damaged test patients by a trained network."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from synthetic_cohort import run, write_cohort

from mil.bag_folder import BagFolder
from mil.bags import BagError, select
from mil.prediction import load_network, predict_bag
from mil.robustness.occlusion import kept_rows, zeroed
from mil.robustness.predict import predict_occluded, predict_perturbed
from wsi.storage import Outcome, read_features, sha256_arrays, write_h5

SMALL = {
    "abmil": {"hidden": 16, "out": 16},
    "patchgcn": {"hidden": 16, "out": 16},
    "deepattnmisl": {"hidden": 16},
}
RATIOS = [0.5, 1.0]


def inputs(root, out):
    return {
        "model": root / f"{out}/model.safetensors",
        "config": root / f"{out}/config.yaml",
        "cohort": root / "cohort.csv",
        "patients": root / "patients.csv",
        "fold": root / "fold0.csv",
        "root": root,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), patients=16, slides=2, patches=32)
    for model, options in SMALL.items():
        head = "adversarial" if model == "abmil" else "cox"
        run(folder, head, model=model, out=model, options={"model_options": options}, epochs=2)
    return folder


def occlude(root, model, output, modes=("zero", "discard"), ratios=RATIOS, **changed):
    settings = {"ratios": ratios, "repeats": 2, "modes": modes, "output": output}
    predict_occluded(**inputs(root, model) | settings | changed)
    return pd.read_csv(output, dtype={"level": str})


@pytest.mark.parametrize("model", SMALL)
def test_occluded_risks_are_those_of_the_occluded_bags(root, model, tmp_path):
    found = occlude(root, model, tmp_path / "o.csv")
    fold = pd.read_csv(root / "fold0.csv")
    test = fold.loc[fold["part"] == "test", "patient_id"].tolist()
    assert len(found) == len(test) * 2 * 2 * 2
    assert set(found["unit"]) == {"region"}
    made = yaml.safe_load((root / model / "config.yaml").read_text())
    network = load_network(root / model / "model.safetensors", made, torch.device("cpu"))
    bags = BagFolder(root / "cohort.csv", root)
    labels = pd.read_csv(root / "patients.csv").set_index("patient_id")
    for row in found.itertuples():
        bag = bags.load([row.patient_id], network.model.needs)
        kept = kept_rows(bag, float(row.level), 16, made["seed"], row.repeat)
        change = {"occlusion-zero": zeroed, "occlusion-discard": select}[row.perturbation]
        expected, _ = predict_bag(network, change(bag, kept), 200, made["seed"])
        assert row.risk == pytest.approx(expected.risk[0], rel=1e-8)
        assert (row.time, row.event) == pytest.approx(tuple(labels.loc[row.patient_id][:2]))


def test_at_ratio_nothing_the_risks_are_those_of_the_ordinary_prediction(root, tmp_path):
    for model in SMALL:
        found = occlude(root, model, tmp_path / "o.csv", ratios=[0.0]).set_index("patient_id")
        whole = pd.read_csv(root / model / "predictions.csv").set_index("patient_id")
        np.testing.assert_array_equal(found["risk"], whole.loc[found.index, "risk"])


def test_patients_without_regions_lose_single_patches_and_that_is_said(root, tmp_path, caplog):
    table = pd.read_csv(root / "cohort.csv")
    test = pd.read_csv(root / "fold0.csv").query("part == 'test'")["patient_id"]
    table["regions"] = np.where(table["patient_id"] == test.iloc[0], "false", "true")
    table.to_csv(tmp_path / "cohort.csv", index=False)
    with caplog.at_level(logging.WARNING):
        found = occlude(root, "patchgcn", tmp_path / "o.csv", cohort=tmp_path / "cohort.csv")
    assert (found["unit"] == np.where(found["patient_id"] == test.iloc[0], "patch", "region")).all()
    assert f"single patches were left out instead: {test.iloc[0]}" in caplog.text


def changed_cohort(root, folder, factor):
    """The cohort with other features of the same patches."""
    table = pd.read_csv(root / "cohort.csv")
    for i, row in table.iterrows():
        features, coords, _ = read_features(root / row["features"])
        x = (factor * features).astype(np.float32)
        path = folder / f"{row['slide_id']}.h5"
        sha = sha256_arrays(x, coords)
        arrays = {"features": x, "coords": coords}
        write_h5(path, Outcome(row["slide_id"], "extract_features"), arrays, {"sha256": sha})
        table.loc[i, ["features", "features_sha256"]] = str(path), sha
    table.to_csv(folder / "cohort.csv", index=False)
    return folder / "cohort.csv"


def test_changed_pixels_are_predicted_level_by_level(root, tmp_path):
    (tmp_path / "half").mkdir()
    levels = {
        "lighter": root / "cohort.csv",
        "strong": changed_cohort(root, tmp_path / "half", 0.5),
    }
    settings = {"perturbation": "blur", "perturbed": levels, "output": tmp_path / "blur.csv"}
    predict_perturbed(**inputs(root, "abmil"), **settings)
    found = pd.read_csv(tmp_path / "blur.csv").set_index("patient_id")
    same, other = (found[found["level"] == level] for level in levels)
    whole = pd.read_csv(root / "abmil/predictions.csv").set_index("patient_id")
    np.testing.assert_array_equal(same["risk"], whole.loc[same.index, "risk"])
    assert list(other.index) == list(same.index)
    assert (other["risk"] != same["risk"]).all()


def test_changed_slides_must_have_the_same_patches(root, tmp_path):
    table = pd.read_csv(root / "cohort.csv")
    test = pd.read_csv(root / "fold0.csv").query("part == 'test'")["patient_id"]
    first = table.index[table["patient_id"] == test.iloc[0]][0]
    table.drop(first).to_csv(tmp_path / "cohort.csv", index=False)
    settings = {"perturbation": "blur", "perturbed": {"light": tmp_path / "cohort.csv"}}
    with pytest.raises(BagError, match=f"for patients {test.iloc[0]}, so no difference"):
        predict_perturbed(**inputs(root, "abmil"), **settings, output=tmp_path / "blur.csv")
