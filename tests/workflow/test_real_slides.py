"""Real slides, real outcomes, a real pretrained encoder: MoNuSeg regions and Aperio files."""

import csv
from pathlib import Path

import pytest
import yaml

DATA = Path(__file__).resolve().parents[3] / "shared/data"
NO_SCALE, NO_FOLLOW_UP = "TCGA-CR-7395", "TCGA-HE-7128"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there: no real slides"),
    pytest.mark.xdist_group("real"),
]

CONFIG = {
    "cohort": "MoNuSeg and Aperio",
    "note": "24 regions of 0.25 mm on an invented background and a handful of events: this shows "
    "that real files go through, and nothing about prediction.",
    "slides": "slides.csv",
    "patients": "patients.csv",
    "unit": "days",
    "results": "results",
    # the regions are 1,000 px at 0.25 um/px and the Aperio file has 0.5 um/px
    "scale": {"by": "mpp", "coarse": 2.0, "fine": 0.5},
    "patches": {"min_tissue": 0.1},
    "features": {"encoder": "efficientnet_lite2", "weights": "imagenet"},
    "folds": {"k": 2, "validation": 0.4},
    "training": {"epochs": 5, "patience": 3, "warmup": 0},
    "experiments": [
        {"name": "advmil", "model": "abmil", "head": "adversarial"},
        {"name": "nll", "model": "abmil", "head": "nll"},
    ],
    "evaluation": {"bootstrap": 200},
}


def outcomes():
    """Return the PFI of each patient as text: (time, event)."""
    with open(DATA / "tables/monuseg_tcga_survival.csv", newline="") as file:
        found = {r["patient_id"]: (r["PFI_time_days"], r["PFI"]) for r in csv.DictReader(file)}
    with open(next((DATA / "tables/tcga_cdr").glob("*.csv")), newline="") as file:
        for row in csv.DictReader(file):
            if row["bcr_patient_barcode"] == NO_SCALE:
                found[NO_SCALE] = (row["PFI.time"], row["PFI"])
    return found


@pytest.fixture(scope="module")
def real(bare_project):
    project = bare_project
    paths = sorted((DATA / "slides/monuseg_padded").glob("*.tiff"))
    paths += [DATA / f"slides/native/{name}" for name in
              ("CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs")]  # fmt: skip
    labels = outcomes()
    with open(project.folder / "slides.csv", "w") as file:
        file.write("slide_id,patient_id,path\n")
        for path in paths:
            patient = path.stem[:12] if path.stem.startswith("TCGA") else path.stem
            file.write(f"{path.stem},{patient},{path}\n")
    with open(project.folder / "patients.csv", "w") as file:
        file.write("patient_id,time,event\n")
        for patient in sorted({path.stem[:12] for path in paths} & labels.keys()):
            file.write(f"{patient},{','.join(labels[patient])}\n")
    (project.folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    project.run()
    return project


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_slide_but_the_one_without_scale_is_used(real):
    used = rows(real.folder / "results/cohort/efficientnet_lite2.csv")
    assert len(used) == 25
    assert {row["width"] for row in used} == {"1280"}
    lost = rows(real.folder / "results/cohort/efficientnet_lite2.excluded.csv")
    slides = [row for row in lost if row["level"] == "slide"]
    assert [(row["patient_id"], row["kind"]) for row in slides] == [(NO_SCALE, "no_scale")]
    assert "add a column mpp" in slides[0]["reason"]


def test_patients_without_follow_up_are_named(real):
    lost = {r["patient_id"]: r["reason"] for r in
            rows(real.folder / "results/cohort/excluded_patients.csv")}  # fmt: skip
    assert "time is missing" in lost[NO_FOLLOW_UP]
    assert set(lost) == {NO_FOLLOW_UP, "CMU-1-Small-Region"}


def test_the_report_says_what_the_encoder_saw_and_who_is_missing(real):
    page = (real.folder / "results/report.html").read_text()
    for name in (NO_SCALE, NO_FOLLOW_UP, "efficientnet-lite2-9656183e.pth"):
        assert name in page


def test_every_patient_is_tested_once_and_events_are_the_real_ones(real):
    tested = [row for fold in (0, 1)
              for row in rows(real.folder / f"results/models/nll/fold{fold}/predictions.csv")
              if row["part"] == "test"]  # fmt: skip
    labels = outcomes()
    assert len({row["patient_id"] for row in tested}) == len(tested) == 23
    for row in tested:
        time, event = labels[row["patient_id"]]
        assert float(row["time"]) == float(time)
        assert float(row["event"]) == float(event)
