"""What changes re-runs just the jobs that depend on it."""

import os
import re
import shutil
from contextlib import contextmanager

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("finished")

COHORT = {"cohort of usable slides (resnet50)"}
FOLDS = {"folds"}
TRAINING = {
    f"{what} {name}, fold {fold}"
    for what in ("training", "predictions of")
    for name in ("advmil", "nll")
    for fold in (0, 1)
}
EVALUATION = {f"{what} of {name}" for what in ("evaluation", "attention heatmaps")
              for name in ("advmil", "nll")} | {"comparison of advmil nll"}  # fmt: skip
REPORT = {"report"}
TABLE = {"table of slides"}
BEHIND_TRAINING = TRAINING | EVALUATION | REPORT
BEHIND_FEATURES = COHORT | BEHIND_TRAINING


def jobs_of_slide(slide):
    return {
        f"tissue of {slide}",
        f"patches of {slide}",
        f"features of {slide} (resnet50)",
        f"graph of {slide}",
    }


@contextmanager
def changed(path, edit):
    """Edit a text file for a while, then put content and time back."""
    before, times = path.read_bytes(), path.stat()
    path.write_text(edit(before.decode()))
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def with_config(project, **changes):
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    path = project.folder / "changed.yaml"
    path.write_text(yaml.safe_dump({**config, **changes}))
    return "--configfile", str(path)


def slides_of(project):
    lines = (project.folder / "data/slides.csv").read_text().splitlines()[1:]
    return {line.split(",")[0]: line.split(",")[1] for line in lines}


def test_nothing_changed_nothing_runs(finished):
    assert finished.planned() == set()


def test_a_new_slide_runs_its_own_stages_and_what_sees_the_whole_cohort(finished):
    folder = finished.folder
    slides = slides_of(finished)
    patient = slides["S001"]
    shutil.copy2(folder / "data/slides/S001.tiff", folder / "data/slides/S999.tiff")
    row = f"S999,{patient},data/slides/S999.tiff,\n"
    try:
        with changed(folder / "data/slides.csv", lambda text: text + row):
            planned = finished.planned()
    finally:
        (folder / "data/slides/S999.tiff").unlink()
    expected = jobs_of_slide("S999") | {f"clusters of {patient}"} | FOLDS | TABLE | BEHIND_FEATURES
    assert planned == expected


def test_a_changed_slide_file_runs_what_is_behind_it_and_no_other_slide(finished):
    slide = finished.folder / "data/slides/S001.tiff"
    patient = slides_of(finished)["S001"]
    before, times = slide.read_bytes(), slide.stat()
    slide.write_bytes(before + b"\0")
    try:
        planned = finished.planned()
    finally:
        slide.write_bytes(before)
        os.utime(slide, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert planned == jobs_of_slide("S001") | {f"clusters of {patient}"} | TABLE | BEHIND_FEATURES


def test_a_changed_tissue_parameter_runs_all_slides_but_neither_folds_nor_weights(finished):
    planned = finished.planned(*with_config(finished, tissue={"min_area_mm2": 0.06}))
    slides = slides_of(finished)
    per_slide = set().union(*map(jobs_of_slide, slides))
    clusters = {f"clusters of {patient}" for patient in slides.values()}
    assert planned == per_slide | clusters | TABLE | BEHIND_FEATURES


def test_a_changed_training_parameter_of_one_experiment_trains_that_one(finished):
    experiments = yaml.safe_load((finished.folder / "config.yaml").read_text())["experiments"]
    experiments[1]["training"] = {"epochs": 2}
    planned = finished.planned(*with_config(finished, experiments=experiments))
    both = {"comparison of advmil nll"} | REPORT
    assert planned == {job for job in BEHIND_TRAINING if "nll" in job} | both


def test_device_and_watchers_of_a_training_run_nothing_but_the_report_that_shows_them(finished):
    training = yaml.safe_load((finished.folder / "config.yaml").read_text())["training"]
    training |= {"device": "cpu", "tensorboard": False, "wandb": {"project": "mine"}}
    assert finished.planned(*with_config(finished, training=training)) == REPORT


def test_a_changed_label_deals_folds_again_and_trains_but_touches_no_slide(finished):
    def move(text):  # the first event of the table becomes later
        return re.sub(
            r"^(P\d+),([\d.]+),1", lambda m: f"{m[1]},{float(m[2]) + 1},1", text, count=1,
            flags=re.MULTILINE,
        )  # fmt: skip

    with changed(finished.folder / "data/patients.csv", move):
        planned = finished.planned()
    assert planned == FOLDS | BEHIND_TRAINING


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("mil/heads/nll.py", {job for job in BEHIND_TRAINING if "advmil, fold" not in job
                              and job not in ("evaluation of advmil",
                                              "attention heatmaps of advmil")}),
        ("mil/graphs.py", {"graph"} | BEHIND_FEATURES),
        ("wsi/extract.py", {"features", "graph", "clusters"} | BEHIND_FEATURES),
        ("mil/report/methods.html", REPORT),
        ("wsi/slide_table.py", TABLE | REPORT),
        ("mil/heatmaps.py", {"attention heatmaps of advmil", "attention heatmaps of nll"} | REPORT),
    ],
)  # fmt: skip
def test_changed_code_of_a_stage_runs_that_stage_and_what_is_behind_it(finished, module, expected):
    with changed(finished.folder / module, lambda text: text + "\nNEW = 1\n"):
        planned = finished.planned()
    slides = slides_of(finished)
    stages = {
        "features": {f"features of {slide} (resnet50)" for slide in slides},
        "graph": {f"graph of {slide}" for slide in slides},
        "clusters": {f"clusters of {patient}" for patient in slides.values()},
    }
    whole = set().union(*(stages.get(job, {job}) for job in expected))
    assert planned == whole


def test_prose_in_the_code_runs_nothing(finished):
    with changed(finished.folder / "wsi/tissue.py", lambda text: text + "\n# a comment\n"):
        assert finished.planned() == set()
