"""Trained models on damaged test patients: blur, and regions left out, in a real run."""

import csv
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from wsi.storage import read_features

pytestmark = [pytest.mark.xdist_group("finished"), pytest.mark.slow]

TESTED = (("P001", "P002"), ("P003", "P004"))
ASKED = {
    "experiments": ["nll"],
    "occlusion": {"ratios": [0.5], "repeats": 2, "modes": ["discard"]},
    "blur": ["strong"],
}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def damaged(finished, tmp_path_factory):
    """A copy of the finished run whose fixed folds test four patients, damaged."""
    folder = tmp_path_factory.mktemp("damaged") / "project"
    shutil.copytree(finished.folder, folder)
    project = type(finished)(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    people = [row["patient_id"] for row in rows(folder / "results/folds/fold0.csv")]
    for fold, tested in enumerate(TESTED):
        parts = {name: "train" if i % 2 else "validation" for i, name in enumerate(people)}
        lines = [f"{name},{part}" for name, part in (parts | dict.fromkeys(tested, "test")).items()]
        (folder / f"fold{fold}.csv").write_text("\n".join(["patient_id,part", *lines]) + "\n")
    config["folds"] = {"k": 2, "files": "fold{}.csv"}
    config["experiments"] = [e for e in config["experiments"] if e["name"] == "nll"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"robustness": ASKED}))
    project.run()
    return project


def test_only_slides_of_tested_patients_are_encoded_again(damaged):
    made = {p.stem for p in (damaged.folder / "results/features/resnet50@blur-strong").glob("*.h5")}
    slides = rows(damaged.folder / "data/slides.csv")
    tested = set().union(*TESTED)
    assert made == {row["slide_id"] for row in slides if row["patient_id"] in tested}
    cohort = rows(damaged.folder / "results/cohort/resnet50@blur-strong.csv")
    assert {row["patient_id"] for row in cohort} <= tested
    for row in cohort:
        changed = read_features(damaged.folder / "results" / row["features"])
        path = f"results/features/resnet50/{row['slide_id']}.h5"
        plain = read_features(damaged.folder / path)
        assert changed[2]["perturbation"] == "blur-strong"
        assert changed[0].shape == plain[0].shape
        assert (changed[0] != plain[0]).any(axis=1).all(), "every patch"
        assert (changed[1] == plain[1]).all()


def test_plain_features_are_left_alone(finished, damaged):
    for path in sorted((finished.folder / "results/features/resnet50").glob("*.h5")):
        assert (
            path.read_bytes() == (damaged.folder / path.relative_to(finished.folder)).read_bytes()
        )


def test_every_curve_is_there_and_in_the_report(damaged):
    for curve, levels in (("occlusion-discard", ["none", "0.5"]), ("blur", ["none", "strong"])):
        table = rows(damaged.folder / f"results/robustness/{curve}.csv")
        assert [row["level"] for row in table] == levels
        metrics = rows(damaged.folder / "results/evaluation/nll/metrics.csv")
        (mean,) = (r for r in metrics if (r["metric"], r["fold"]) == ("c_index", "mean"))
        assert [table[0][c] for c in ("c_index", "low", "high")] == [
            mean[c] for c in ("value", "low", "high")
        ]
        page = (damaged.folder / "results/report.html").read_text()
        assert f'href="robustness/{curve}.csv"' in page
    assert damaged.planned("robustness") == set(), "nothing is left to do"


@pytest.mark.parametrize("log", ["predict_perturbed/nll/fold0/blur", "predict_occluded/nll/fold1"])
def test_the_first_line_of_a_log_repeats_the_job_by_hand(damaged, log):
    line = (damaged.folder / f"results/logs/{log}.log").read_text().splitlines()[0]
    command = shlex.split(line)
    (written,) = (part for part in command if part.startswith("output="))
    output = damaged.folder / written.removeprefix("output=")
    before = output.read_bytes()
    output.unlink()
    subprocess.run([sys.executable, *command[1:]], cwd=damaged.folder, check=True)
    assert output.read_bytes() == before


def test_drawn_folds_test_every_patient_with_follow_up(finished):
    config = yaml.safe_load((finished.folder / "config.yaml").read_text())
    asked = {"experiments": ["advmil", "nll"], "blur": ["light"], "hed": ["lighter"]}
    path = finished.folder / "robustness.yaml"
    path.write_text(yaml.safe_dump(config | {"robustness": asked}))
    planned = finished.planned("robustness", "--configfile", str(path))
    followed = {row["patient_id"] for row in rows(finished.folder / "results/cohort/patients.csv")}
    slides = {
        row["slide_id"]
        for row in rows(finished.folder / "data/slides.csv")
        if row["patient_id"] in followed
    }
    encoders = ("resnet50@blur-light", "resnet50@hed-lighter")
    assert {job for job in planned if job.startswith("features")} == {
        f"features of {slide} ({encoder})" for slide in slides for encoder in encoders
    }
    others = {job for job in planned if job.split()[0] not in ("features", "graph", "clusters")}
    assert others == {
        *(f"cohort of usable slides ({encoder})" for encoder in encoders),
        *(f"{what} of {name}, fold {fold}" for what in ("occlusion", "blur", "hed")
          for name in ("advmil", "nll") for fold in (0, 1)),
        *(f"curve of {curve}" for curve in ("occlusion-zero", "occlusion-discard", "blur", "hed")),
    }  # fmt: skip


def test_a_target_with_nothing_to_do_says_so(finished):
    result = finished.run("-n", "robustness", check=False)
    assert result.returncode != 0
    assert "robustness: experiments is empty" in result.stdout + result.stderr
