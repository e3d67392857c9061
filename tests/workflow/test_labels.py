"""The workflow with labels instead of survival, on the features of a finished run."""

import csv
import json
import shutil

import numpy as np
import openslide
import pytest
import yaml

from wsi.storage import load_npz, read_features

pytestmark = pytest.mark.xdist_group("finished")

CLASSES = {
    "task": "classification",
    "label": {"columns": ["pattern"], "classes": ["scarce", "abundant"]},
    "experiments": [{"name": "abmil", "model": "abmil", "head": "classes"}],
    "predict": [{"name": "beside", "slides": "b.csv", "patients": "b_patients.csv"}],
    "robustness": {
        "experiments": ["abmil"],
        "occlusion": {"ratios": [0.5], "repeats": 2, "modes": ["discard"]},
    },
}
FURTHER = [("X1", "Q1", "S001", "scarce"), ("X5", "Q5", "S005", "abundant")]  # copies of slides
ANNOTATED = "S006"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_further(folder):
    """A cohort with labels: two slides of the finished run by other names."""
    slides = [
        f"{slide},{patient},data/slides/{source}.tiff" for slide, patient, source, _ in FURTHER
    ]
    labels = [f"{patient},{label}" for _, patient, _, label in FURTHER]
    (folder / "b.csv").write_text("\n".join(["slide_id,patient_id,path", *slides]) + "\n")
    (folder / "b_patients.csv").write_text("\n".join(["patient_id,pattern", *labels]) + "\n")


def annotate(folder, right=1000):
    """The left of a slide is annotated, as the slide table says."""
    ring = [[0, 0], [right, 0], [right, 9000], [0, 9000], [0, 0]]
    region = {"type": "Polygon", "coordinates": [ring]}
    (folder / "left.geojson").write_text(json.dumps({"type": "Feature", "geometry": region}))
    table = rows(folder / "data/slides.csv")
    for row in table:
        row["annotations"] = "left.geojson" if row["slide_id"] == ANNOTATED else ""
    with open(folder / "data/slides.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)


@pytest.fixture(scope="module")
def classified(finished, tmp_path_factory):
    """A copy of the finished run that then predicts whether the pattern is abundant."""
    folder = tmp_path_factory.mktemp("classified") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    write_further(folder)
    annotate(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | CLASSES))
    project = type(finished)(folder)
    project.first = project.planned()
    project.run()
    return project


def test_features_are_those_of_the_run_before(classified):
    new = ("of X", "of Q")  # of the further cohort
    jobs = {job.split()[0] for job in classified.first if not any(name in job for name in new)}
    assert not jobs & {"tissue", "patches", "features", "graph", "clusters"}
    assert {"folds", "training", "evaluation", "comparison", "report"} <= jobs
    assert classified.planned() == set(), "everything is made"


def test_predictions_are_probabilities_of_classes(classified):
    people = rows(classified.folder / "data/patients.csv")
    labels = {row["patient_id"]: row["pattern"] for row in people}
    tested = []
    for fold in (0, 1):
        path = classified.folder / f"results/models/abmil/fold{fold}/predictions.csv"
        for row in rows(path):
            assert list(row) == [
                "patient_id", "part", "pattern", "probability_scarce", "probability_abundant",
            ]  # fmt: skip
            assert row["pattern"] == labels[row["patient_id"]]
            both = float(row["probability_scarce"]) + float(row["probability_abundant"])
            assert both == pytest.approx(1, abs=1e-8)
            tested += [row["patient_id"]] * (row["part"] == "test")
    assert len(tested) == len(set(tested))


def test_the_report_is_about_classes(classified):
    page = (classified.folder / "results/report.html").read_text()
    endpoint = "pattern: scarce, abundant; abundant is positive"
    for words in ("AUROC", endpoint, "Confusion matrix", "ROC curve"):
        assert words in page
    for words in ("Kaplan", "C-index", "censor", "hazard"):
        assert words not in page
    table = rows(classified.folder / "results/evaluation/abmil/metrics.csv")
    wanted = {"auroc", "balanced_accuracy", "brier", "ece", "threshold_abundant"}
    assert wanted <= {row["metric"] for row in table}


def test_a_further_cohort_has_probabilities_and_is_judged(classified):
    folder = classified.folder / "results/predict/beside"
    joined = rows(folder / "models/abmil/ensemble/predictions.csv")
    assert [(row["patient_id"], row["seen_by"]) for row in joined] == [("Q1", "0"), ("Q5", "0")]
    models = [rows(folder / f"models/abmil/fold{fold}/predictions.csv") for fold in (0, 1)]
    for k, row in enumerate(joined):
        mean = np.mean([float(own[k]["probability_abundant"]) for own in models])
        assert float(row["probability_abundant"]) == pytest.approx(mean, rel=1e-6)
        assert row["decision"] in ("scarce", "abundant")
    copied = rows(classified.folder / "results/models/abmil/fold0/predictions.csv")
    own = next(row for row in copied if row["patient_id"] == "P001")
    assert models[0][0]["probability_abundant"] == own["probability_abundant"], "the same slide"
    table = rows(folder / "evaluation/abmil/metrics.csv")
    metrics = {(row["metric"], row["fold"]): row for row in table}
    assert metrics["auroc", "ensemble"]["value"] in ("0", "1", "0.5")
    assert metrics["brier", "ensemble"]["n"] == "2"
    page = " ".join((folder / "report.html").read_text().split())
    assert "Of 2 with a label the ensemble of abmil predicted pattern with an AUROC" in page
    assert "Kaplan" not in page
    assert (folder / "evaluation/abmil/heatmaps.jpg").stat().st_size > 10_000


def test_damaged_patients_are_judged_by_the_score_of_the_task(classified):
    table = rows(classified.folder / "results/robustness/occlusion-discard.csv")
    assert [(row["level"], row["metric"]) for row in table] == [("none", "auroc"), ("0.5", "auroc")]
    metrics = rows(classified.folder / "results/evaluation/abmil/metrics.csv")
    (mean,) = (r for r in metrics if (r["metric"], r["fold"]) == ("auroc", "mean"))
    assert table[0]["value"] == mean["value"]
    page = (classified.folder / "results/report.html").read_text()
    assert 'href="robustness/occlusion-discard.csv"' in page
    assert "AUROC undamaged" in page


def test_annotated_patches_are_labelled_and_a_changed_annotation_draws_anew(classified):
    folder = classified.folder
    label = load_npz(folder / f"results/annotations/resnet50/{ANNOTATED}.npz")[0]["label"]
    _, coords, facts = read_features(folder / f"results/features/resnet50/{ANNOTATED}.h5")
    middle = coords[:, 0] - facts["bounds"][0] + facts["footprint0"] / 2
    np.testing.assert_array_equal(label, middle < 1000)
    annotate(folder, right=1500)
    planned = classified.planned()
    annotate(folder)
    assert planned == {
        *(f"annotations of {ANNOTATED} (resnet50)", "attention heatmaps of abmil"),
        *("report", "provenance"),
    }


def test_openslide_opens_the_pyramids_of_scores(classified):
    classified.run("pyramids")
    folder = classified.folder / "results/evaluation/abmil"
    made = sorted((folder / "pyramids").glob("*.tiff"))
    assert [path.stem for path in made] == [
        path.stem for path in sorted((folder / "scores").glob("*.geojson"))
    ]
    with openslide.OpenSlide(made[0]) as opened:
        assert float(opened.properties["openslide.mpp-x"]) > 0
        assert np.asarray(opened.read_region((0, 0), 0, opened.dimensions)).std() > 1


def test_snakemake_lint_is_clean(classified):
    result = classified.run("--lint")
    assert "your workflow is in a good condition" in result.stdout + result.stderr
