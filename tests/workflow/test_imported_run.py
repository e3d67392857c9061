"""The whole workflow from tables and a folder of features made elsewhere, without any slide."""

import csv
import re
import shutil

import h5py
import numpy as np
import pytest
import yaml

from wsi.export_features import export_features
from wsi.storage import Outcome, read_features, sha256_arrays, write_h5

pytestmark = pytest.mark.xdist_group("imported")

PATIENTS = 8
ABSENT, DAMAGED = "S6", "S7"  # no file; a NaN
CONFIG = {
    "cohort": "made elsewhere",
    "slides": "slides.csv",
    "patients": "patients.csv",
    "results": "results",
    "max_failed_slides": 0.3,
    "features": {"encoder": "uni_v1", "import": "given", "layout": "trident"},
    "folds": {"k": 2, "validation": 0.4},
    "training": {"epochs": 2, "patience": 2, "warmup": 0},
    "experiments": [
        {
            "name": "advmil",
            "model": "abmil",
            "head": "adversarial",
            "grid": {"head_options.noise": ["1-1"]},
            "seeds": 2,
        },
    ],
    "evaluation": {"bootstrap": 20},
    "permutations": 1,
    "robustness": {
        "experiments": ["advmil.noise_1-1.seed_1"],
        "occlusion": {"ratios": [0.5], "repeats": 1, "modes": ["zero"]},
    },
}


def write_run(folder):
    """Features of a run of ours: two coarse patches a slide, 16 fine ones in each."""
    random = np.random.default_rng(5)
    steps = np.array([(x, y) for y in range(4) for x in range(4)]) * 1024
    for number in range(PATIENTS):
        corners = np.array([[4096 * number, 8192], [4096 * number + 8192, 12288]])
        coords = (corners[:, None] + steps).reshape(-1, 2)
        features = random.standard_normal((len(coords), 12)).astype(np.float16)
        write_h5(
            folder / f"features/uni_v1/S{number}.h5",
            Outcome(f"S{number}", "extract_features"),
            {"features": features, "coords": coords},
            {"footprint0": 1024, "size": 256, "mpp0": 0.25, "mpp_source": "openslide.mpp",
             "width0": 50_000, "height0": 40_000,
             "sha256": sha256_arrays(features, coords)},
        )  # fmt: skip


@pytest.fixture(scope="module")
def imported(bare_project, tmp_path_factory):
    """The run; `project.first` is the run that the features come from."""
    project, first = bare_project, tmp_path_factory.mktemp("first")
    write_run(first)
    export_features(
        results=str(first), encoder="uni_v1", to=str(project.folder / "given"), layout="trident"
    )
    given = project.folder / "given/features_uni_v1"
    (given / f"{ABSENT}.h5").unlink()
    with h5py.File(given / f"{DAMAGED}.h5", "r+") as file:
        file["features"][3, 4] = np.nan
    slides = [f"S{n},P{n}" for n in range(PATIENTS)]
    (project.folder / "slides.csv").write_text("\n".join(["slide_id,patient_id", *slides]) + "\n")
    people = [f"P{n},{n + 3},{1 - (n % 4 == 3)}" for n in range(PATIENTS)]
    (project.folder / "patients.csv").write_text(
        "\n".join(["patient_id,time,event", *people]) + "\n"
    )
    (project.folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    project.run()
    project.first = first
    return project


def test_a_grid_and_seeds_are_experiments_of_their_own(imported):
    names = [f"advmil.noise_1-1.seed_{seed}" for seed in (1, 2)]
    results = imported.folder / "results"
    weights = [(results / f"models/{name}/fold0/model.safetensors").read_bytes() for name in names]
    assert weights[0] != weights[1]
    made = yaml.safe_load((results / f"models/{names[0]}/fold0/config.yaml").read_text())
    assert made["experiment"]["head_options"] == {"noise": "1-1"}
    table = rows(results / "evaluation/comparison.csv")
    assert [(row["experiment"], row["seeds"]) for row in table] == [
        ("advmil.noise_1-1", "2"), (names[0], "1"), (names[1], "1")
    ]  # fmt: skip
    page = (results / "report.html").read_text()
    assert "advmil.noise_1-1 (mean of 2 seeds)" in re.sub(r"\s+", " ", page)
    assert "SD seeds" in (results / "evaluation/comparison.txt").read_text()


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_no_job_looks_at_slides(imported):
    logs = {path.name for path in (imported.folder / "results/logs").iterdir()}
    assert "import_features" in logs
    assert not logs & {"find_tissue", "make_patches", "extract_features", "fetch_weights",
                       "list_slides.log"}  # fmt: skip
    assert imported.planned() == set(), "nothing is left to do"


def test_features_are_those_that_were_exported(imported):
    for row in rows(imported.folder / "results/cohort/uni_v1.csv"):
        before = read_features(imported.first / f"features/uni_v1/{row['slide_id']}.h5")
        after = read_features(imported.folder / "results" / row["features"])
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])
        assert after[0].dtype == np.float16
        assert after[2]["sha256"] == before[2]["sha256"]
        assert row["regions"] == "true"


def test_a_missing_and_a_damaged_file_are_outcomes_that_the_report_names(imported):
    lost = {row["id"]: row for row in rows(imported.folder / "results/cohort/uni_v1.excluded.csv")}
    assert lost[ABSENT]["kind"] == "no_features"
    assert lost[DAMAGED]["kind"] == "damaged"
    page = (imported.folder / "results/report.html").read_text()
    assert "there is no file of features named S6 in features.import (given)" in page
    assert "features_uni_v1/S7.h5 has NaN or infinity in row 3 of 32" in page


def test_the_report_says_where_features_came_from(imported):
    page = (imported.folder / "results/report.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "imported in the trident layout, 192 patches of 6 slides with 12 features each" in text
    assert (
        "12 x float16 1024 level-0 pixels (file) 0.25 µm per pixel (file of features) yes" in text
    )
    assert "Tissue was found" not in text
    assert "with sound features" in text
    assert page.count('src="data:image/jpeg') >= PATIENTS + 1, "a picture a slide, and heatmaps"
    table = {row["slide_id"]: row for row in rows(imported.folder / "results/slides.csv")}
    assert table["S0"]["source"] == "features_uni_v1/S0.h5"


def test_patches_can_be_left_out_of_imported_features(imported):
    table = rows(imported.folder / "results/robustness/occlusion-zero.csv")
    assert [(row["level"], row["unit"]) for row in table] == [("none", ""), ("0.5", "region")]
    page = (imported.folder / "results/report.html").read_text()
    assert 'href="robustness/occlusion-zero.csv"' in page


def test_a_folder_without_features_stops_before_the_first_job(imported):
    (imported.folder / "empty").mkdir()
    features = {"encoder": "uni_v1", "import": "empty", "layout": "trident"}
    (imported.folder / "wrong.yaml").write_text(yaml.safe_dump({**CONFIG, "features": features}))
    result = imported.run("-n", "--configfile", "wrong.yaml", check=False)
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert "it has no file of features in the layout trident" in said
    assert "Traceback" not in said


def test_a_changed_file_imports_that_slide_again(imported):
    path = imported.folder / "given/features_uni_v1/S1.h5"
    kept = path.with_suffix(".kept")
    shutil.copy2(path, kept)
    try:
        path.write_bytes(path.read_bytes() + b"\0")
        planned = imported.planned()
    finally:
        kept.replace(path)
    assert {job for job in planned if job.startswith(("import", "graph", "clusters"))} == {
        "import of S1", "graph of S1", "clusters of P1"
    }  # fmt: skip


@pytest.mark.parametrize("target", ["preflight", "tissue", "patches"])
def test_targets_that_look_at_slides_say_why_they_are_none(imported, target):
    refused = imported.run("-n", target, check=False)
    assert refused.returncode
    text = " ".join((refused.stderr + refused.stdout).split())
    assert "features: import takes the place of slides, tissue and patches" in text
