"""The check against the truth, on invented results whose answer is known."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from demo.cohort import make_cohort
from demo.null import check_null
from demo.truth import check_results, patch_shares
from mil.slide_scores import SlideScores, write_slide_scores
from wsi.storage import Outcome, write_h5

PATCH = 128  # level-0 px: 8 pixels of the mask


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "demo"
    make_cohort(folder, patients=10, side=2048, bad_slides=False, jobs=1)
    return folder


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def invent(results, demo, risk_of, attention_of, contribution_of=lambda attention: None):
    """Write features and one experiment of two folds, from functions of the truth."""
    truth = {row["patient_id"]: row for row in read(demo / "truth.csv")}
    labels = read(demo / "patients.csv")
    corners = np.array([[x, y] for y in range(0, 2048, PATCH) for x in range(0, 2048, PATCH)])
    for fold in (0, 1):
        folder = results / f"models/abmil/fold{fold}"
        folder.mkdir(parents=True)
        attention = {}
        with open(folder / "predictions.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["patient_id", "part", "time", "event", "risk", "predicted_time"])
            for index, row in enumerate(labels):
                part = "test" if index % 2 == fold else "train"
                patient = truth[row["patient_id"]]
                risk = risk_of(float(patient["hazard"]))
                writer.writerow([row["patient_id"], part, row["time"], row["event"], risk, ""])
                for slide in patient["slides"].split() if part == "test" else ():
                    mask = cv2.imread(str(demo / f"truth/{slide}.png"), cv2.IMREAD_UNCHANGED)
                    share = patch_shares(mask == 255, corners / 16, PATCH / 16)
                    attention[slide] = attention_of(share).astype(np.float32)
                    write_h5(
                        results / f"features/resnet50/{slide}.h5",
                        Outcome(slide, "extract_features"),
                        {"features": np.zeros((len(corners), 2), np.float32), "coords": corners},
                        {"width0": 2048, "height0": 2048, "footprint0": PATCH},
                    )
        (folder / "config.yaml").write_text("experiment: {encoder: resnet50}\n")
        scores = {
            slide: SlideScores(one, contribution_of(one), towards=("risk",))
            for slide, one in attention.items()
        }
        write_slide_scores(folder / "attention.npz", scores)
    (results / "features/another").mkdir()  # the model says which encoder is its own
    (results / "models/abmil.permuted0").mkdir()  # not of this comparison
    (results / "evaluation").mkdir()
    (results / "evaluation/comparison.csv").write_text("experiment,seeds\nabmil,1\n")
    return results


def run(results, demo):
    return subprocess.run(
        [sys.executable, "-m", "demo", "check", str(results), "--demo", str(demo)],
        capture_output=True,
        text=True,
    )


def test_perfect_results_pass(tmp_path, demo):
    ran = run(invent(tmp_path, demo, float, lambda share: share + 0.01), demo)
    assert ran.returncode == 0, ran.stderr
    assert "abmil" in ran.stdout
    found = json.loads((tmp_path / "evaluation/truth.json").read_text())
    assert found["passed"] is True
    assert found["attention_auroc"] == 1.0
    assert found["p_value"] == pytest.approx(1 / 1001)
    assert found["c_index"] == found["ceiling"]
    assert found["top_pattern"] > found["base_pattern"] + 0.2


def test_the_base_share_is_the_masks_own(tmp_path, demo):
    found = check_results(invent(tmp_path, demo, float, lambda share: share), demo)
    shares = []
    for path in sorted((demo / "truth").glob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if (patch_shares(mask == 255, *grid_of(mask)) > 0.5).any():
            shares.append((mask == 255).sum() / (mask > 0).sum())
    assert found.slides == len(shares)
    assert found.base_pattern == pytest.approx(np.mean(shares))


def grid_of(mask):
    side = PATCH // 16
    return np.array(
        [[x, y] for y in range(0, len(mask), side) for x in range(0, len(mask), side)]
    ), side


def test_attention_without_a_relation_does_not_pass(tmp_path, demo):
    rng = np.random.default_rng(5)
    ran = run(invent(tmp_path, demo, float, lambda share: rng.random(len(share))), demo)
    assert ran.returncode == 1
    assert "NOT PASSED" in ran.stdout
    found = json.loads((tmp_path / "evaluation/truth.json").read_text())
    assert found["attention_auroc"] == pytest.approx(0.5, abs=0.06)
    assert found["p_value"] > 0.05


def test_reversed_attention_does_not_pass(tmp_path, demo):
    found = check_results(invent(tmp_path, demo, float, lambda share: 1 - share), demo)
    assert found.attention_auroc == 0.0
    assert found.p_value == 1.0
    assert not found.passed


def test_contributions_are_compared_where_there_are_any(tmp_path, demo):
    def against(attention):
        return -attention[:, None]

    found = check_results(invent(tmp_path, demo, float, lambda share: share, against), demo)
    assert (found.attention_auroc, found.contribution_auroc) == (1.0, 0.0)
    assert "contribution AUROC 0.000" in found.text()


def test_models_without_contributions_are_checked_without(tmp_path, demo):
    found = check_results(invent(tmp_path, demo, float, lambda share: share), demo)
    assert found.contribution_auroc is None
    assert "contribution" not in found.text()


def test_useless_risk_does_not_pass(tmp_path, demo):
    found = check_results(invent(tmp_path, demo, lambda hazard: 1.0, lambda share: share), demo)
    assert found.c_index == 0.5
    assert not found.passed


def test_missing_results_are_told_in_a_sentence(tmp_path, demo):
    ran = run(tmp_path, demo)
    assert ran.returncode == 2
    assert "run the workflow before the check" in ran.stderr
    ran = run(invent(tmp_path, demo, float, np.copy), tmp_path / "elsewhere")
    assert ran.returncode == 2
    assert "make the cohort with python -m demo" in ran.stderr


def test_patch_shares_by_hand():
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :6] = True
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [6.0, 6.0], [20.0, 0.0]])
    assert patch_shares(mask, corners, 4.0).tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(("values", "passed"), [((0.40, 0.55), True), ((0.62, 0.72), False)])
def test_permuted_labels_must_stay_near_chance(tmp_path, values, passed):
    (tmp_path / "evaluation/null").mkdir(parents=True)
    rows = "".join(f"cox.permuted{i},{value}\n" for i, value in enumerate(values))
    (tmp_path / "evaluation/null/comparison.csv").write_text("experiment,c_index\n" + rows)
    text, near = check_null(tmp_path)
    assert near is passed
    assert f"{np.mean(values):.3f}" in text
