"""One run of the whole workflow on the small demo cohort."""

import csv
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from snakemake.utils import available_cpu_count  # noqa: F401  (the tests need snakemake itself)

pytestmark = pytest.mark.xdist_group("finished")

RULES = {
    "find_tissue": "S001.log",
    "make_patches": "S001.log",
    "list_slides": None,
    "fetch_weights": "resnet50.log",
    "extract_features": "resnet50/S001.log",
    "build_graph": "resnet50/S001.log",
    "cluster_patches": "resnet50/P001.log",
    "make_folds": None,
    "gather_cohort": "resnet50.log",
    "train_model": "nll/fold0.log",
    "predict_fold": "nll/fold0.log",
    "evaluate_experiment": "nll.log",
    "draw_distributions": "nll.log",
    "draw_heatmaps": "nll.log",
    "compare_experiments": None,
    "write_report": None,
}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_bad_slide_is_an_outcome_with_a_reason(finished):
    excluded = rows(finished.folder / "results/cohort/resnet50.excluded.csv")
    kinds = {row["kind"] for row in excluded if row["level"] == "slide"}
    assert kinds == {"unreadable", "no_tissue", "no_scale"}
    for row in excluded:
        assert row["level"] == "patient" or row["id"] in row["reason"], row


def test_the_report_names_every_excluded_slide_with_its_reason(finished):
    page = (finished.folder / "results/report.html").read_text()
    for row in rows(finished.folder / "results/cohort/resnet50.excluded.csv"):
        assert row["id"] in page
    for row in rows(finished.folder / "results/cohort/excluded_patients.csv"):
        assert row["patient_id"] in page
    assert "Random encoder weights" in page, "said loudly"


def test_every_usable_slide_has_sixteen_rows_a_region(finished):
    for row in rows(finished.folder / "results/cohort/resnet50.csv"):
        assert int(row["n_patches"]) % 16 == 0
        assert int(row["width"]) == 1024


@pytest.mark.parametrize("rule", RULES)
def test_the_first_line_of_a_log_repeats_the_job_by_hand(finished, rule):
    log = RULES[rule] or f"../{rule}.log"
    path = (finished.folder / "results/logs" / rule / log).resolve()
    command = shlex.split(path.read_text().splitlines()[0])
    assert command[0] == "python"
    before = finished.results()
    times = {p: p.stat() for p in (finished.folder / "results").rglob("*") if p.is_file()}
    subprocess.run([sys.executable, *command[1:]], cwd=finished.folder, check=True)
    written = [
        p for p, was in times.items() if p.exists() and p.stat().st_mtime_ns != was.st_mtime_ns
    ]
    assert written, "the command wrote its output again"
    assert finished.results() == before, "with the same bytes"
    restore_times(times)


def restore_times(times):
    import os

    for path, was in times.items():
        if path.exists():  # event files are named by the second they begin in
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_every_job_has_a_benchmark(finished):
    logs = {p.relative_to(finished.folder / "results/logs").with_suffix("")
            for p in (finished.folder / "results/logs").rglob("*.log")}  # fmt: skip
    benchmarks = {p.relative_to(finished.folder / "results/benchmarks").with_suffix("")
                  for p in (finished.folder / "results/benchmarks").rglob("*.tsv")}  # fmt: skip
    assert logs == benchmarks


def test_every_training_can_be_watched(finished):
    folder = finished.folder / "results/logs/tensorboard"
    for fold in (0, 1):
        for name in ("advmil", "nll"):
            assert len(list((folder / f"{name}/fold{fold}").glob("events.out.tfevents.*"))) == 1


def test_no_result_holds_the_path_of_this_machine(finished):
    here = str(finished.folder).encode()
    assert [name for name, content in finished.results().items() if here in content] == []


def test_snakemakes_own_report_has_every_figure(finished):
    finished.run("--report", "report.zip")
    assert (finished.folder / "report.zip").stat().st_size > 100_000


def test_permuted_labels_have_a_target_of_their_own(finished):
    planned = finished.planned("null")
    assert {job for job in planned if job.startswith("training")} == {
        f"training {name}.permuted0, fold {fold}" for name in ("advmil", "nll") for fold in (0, 1)
    }
    assert not [job for job in planned if "features" in job]


def test_scores_of_every_test_patient_are_exported_on_request(finished):
    planned = finished.planned("scores")
    assert planned == {f"scores of patches by {name}" for name in ("advmil", "nll")}
    with tempfile.TemporaryDirectory() as folder:
        log = finished.folder / "results/logs/draw_heatmaps/nll.log"
        command = shlex.split(log.read_text().splitlines()[0])
        settings = [one for one in command if one.startswith(("attention=", "cohort=", "root="))]
        subprocess.run(
            [sys.executable, "-m", "mil", "export_scores", *settings, f"to={folder}"],
            cwd=finished.folder,
            check=True,
        )
        files = sorted(Path(folder).glob("*.geojson"))
        folds = [
            row for k in (0, 1) for row in rows(finished.folder / f"results/folds/fold{k}.csv")
        ]
        tested = {row["patient_id"] for row in folds if row["part"] == "test"}
        cohort = rows(finished.folder / "results/cohort/resnet50.csv")
        of_them = {row["slide_id"] for row in cohort if row["patient_id"] in tested}
        assert {path.stem for path in files} == of_them
        first = json.loads(files[0].read_text())["features"][0]["properties"]
        assert list(first["measurements"])[-1] == "contribution to risk"


def test_provenance_of_features_is_in_every_file(finished):
    from wsi.storage import read_attributes

    for path in sorted((finished.folder / "results/features/resnet50").glob("*.h5")):
        attributes = read_attributes(path)
        assert attributes["slide"] == path.stem
        if attributes["status"] == "ok":
            assert attributes["weights"] == "random:0"
            assert re.fullmatch("[0-9a-f]{64}", attributes["weights_sha256"])


def test_tissue_opens_as_geojson(finished):
    for path in sorted((finished.folder / "results/tissue").glob("*.geojson")):
        content = json.loads(Path(path).read_text())
        assert content["type"] == "FeatureCollection"
        for feature in content["features"]:
            for ring in feature["geometry"]["coordinates"]:
                assert ring[0] == ring[-1]
