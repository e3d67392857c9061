"""The workflow with labels instead of survival, on the features of a finished run."""

import csv
import shutil

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("finished")

CLASSES = {
    "task": "classification",
    "label": {"columns": ["pattern"], "classes": ["scarce", "abundant"]},
    "experiments": [{"name": "abmil", "model": "abmil", "head": "classes"}],
}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def classified(finished, tmp_path_factory):
    """A copy of the finished run that then predicts whether the pattern is abundant."""
    folder = tmp_path_factory.mktemp("classified") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | CLASSES))
    project = type(finished)(folder)
    project.first = project.planned()
    project.run()
    return project


def test_features_are_those_of_the_run_before(classified):
    jobs = {job.split()[0] for job in classified.first}
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


def test_snakemake_lint_is_clean(classified):
    result = classified.run("--lint")
    assert "your workflow is in a good condition" in result.stdout + result.stderr
