"""The record of a run: read back with the library that other people read it with."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from rocrate.rocrate import ROCrate

from mil.provenance.crate import write_provenance
from mil.provenance.durations import by_rule, read_jobs
from mil.provenance.start import describe_start

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a folder with the leavings of a small run, and the crate made of it."""
    folder = tmp_path_factory.mktemp("run")
    root = folder / "results"
    for name, text in {
        "results/report.html": "<html></html>",
        "results/slides.csv": "slide_id,fingerprint\nS1,quickhash-1:abc\nS2,\n",
        "results/evaluation/comparison.csv": "experiment\nabmil-cox\n",
        "results/cohort/patients.csv": "patient_id\nP1\n",
        "results/cohort/resnet50.csv": "slide_id,features,features_sha256,graph,graph_sha256\n"
        "S1,features/resnet50/S1.h5,f00d,graphs/resnet50/S1.npz,cafe\n",
        "results/features/resnet50/S1.h5": "pixels",
        "results/graphs/resnet50/S1.npz": "edges",
        "results/tissue/S1.jpg": "picture",
        "results/logs/train_model/a/fold0.log": "said",
        "results/benchmarks/train_model/a/fold0.tsv": "s\tmax_rss\n10.0\t0.00\n20.5\t512.5\n",
        "results/benchmarks/train_model/a/fold1.tsv": "s\tmax_rss\n30.5\t600\n",
        "results/benchmarks/make_folds.tsv": "s\tmax_rss\n0.4\t-\n",
        "results/benchmarks/killed.tsv": "s\tmax_rss\n",
        "slides.csv": "slide_id\nS1\n",
        "patients.csv": "patient_id\nP1\n",
        "S1.svs": "scan",
        "results/models/a/fold0/config.yaml": "torch: 2.15.0\n",
        "results/models/a/fold1/config.yaml": "torch: 2.14.1\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    packages = {"numpy": "2.5.5", "torch": "2.15.0"}
    describe_start(root / "logs/start.json", "snakemake --cores 2", ROOT, "9.27.1", packages)
    crate = root / "provenance/ro-crate-metadata.json"
    write_provenance(
        crate=crate,
        root=root,
        config={"cohort": "tiny", "note": "", "seed": 7, "folds": {"k": 2}},
        run=root / "logs/start.json",
        version="0.1.0, code 1234",
        workflow=[ROOT / "Snakefile", ROOT / "rules/report.smk"],
        tables=[folder / "slides.csv", folder / "patients.csv"],
        slides={"S1": str(folder / "S1.svs"), "S2": str(folder / "gone.svs"), "S3": ""},
        slide_table=root / "slides.csv",
        cohorts=[root / "cohort/resnet50.csv"],
    )
    return root, ROCrate(crate.parent)


def test_the_crate_is_whole(run):
    """Every file it says it holds is there, and every name it mentions is described."""
    root, _ = run
    content = json.loads((root / "provenance/ro-crate-metadata.json").read_text())
    described = {entity["@id"] for entity in content["@graph"]}
    for entity in content["@graph"]:
        if "File" in entity["@type"] and not entity["@id"].startswith("file://"):
            path = root / "provenance" / entity["@id"]
            assert path.is_file(), path
            if "contentSize" in entity:
                assert int(entity["contentSize"]) == path.stat().st_size
        for value in entity.values():
            for reference in value if isinstance(value, list) else [value]:
                if isinstance(reference, dict) and not reference["@id"].startswith("http"):
                    assert reference["@id"] in described
    assert (root / "provenance/workflow/rules/report.smk").read_text() == (
        ROOT / "rules/report.smk"
    ).read_text()


def test_the_action_says_what_was_run_on_what(run):
    _, crate = run
    action = crate.get("#run")
    assert crate.mainEntity is action["instrument"]
    assert action["description"] == "snakemake --cores 2"
    assert action["agent"]["name"]
    given = {entity.get("name"): entity for entity in action["object"]}
    assert given["seed"]["value"] == "7"
    assert json.loads(given["folds"]["value"]) == {"k": 2}
    assert given["S1"]["identifier"] == "quickhash-1:abc"
    assert given["S1"]["contentSize"] == "4"
    assert not {"S2", "S3"} & set(given)  # nothing is said of slides that are not there
    made = {entity["name"] for entity in action["result"]}
    assert made == {"report.html", "evaluation/comparison.csv", "slides.csv", "cohort/patients.csv"}
    assert action["startTime"] <= action["endTime"]


def test_the_manifest_has_every_result_and_the_hashes_that_are_known(run):
    root, _ = run
    manifest = pd.read_csv(root / "provenance/manifest.csv", keep_default_na=False).set_index(
        "path"
    )
    there = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file()
        and path.parts[len(root.parts)] not in ("logs", "benchmarks", "provenance")
    }
    assert set(manifest.index) == there
    assert manifest.loc["features/resnet50/S1.h5", "sha256"] == "f00d"
    assert manifest.loc["graphs/resnet50/S1.npz", "sha256"] == "cafe"
    assert manifest.loc["tissue/S1.jpg", "sha256"] == ""
    html = hashlib.sha256(b"<html></html>").hexdigest()
    assert manifest.loc["report.html", "sha256"] == html
    assert manifest.loc["report.html", "bytes"] == 13


def test_jobs_are_those_of_the_last_run(run):
    root, crate = run
    jobs = pd.read_csv(root / "provenance/jobs.csv", keep_default_na=False)
    assert list(zip(jobs["rule"], jobs["job"], jobs["seconds"], strict=True)) == [
        ("make_folds", "", 0.4),
        ("train_model", "a/fold0", 20.5),
        ("train_model", "a/fold1", 30.5),
    ]
    assert jobs["max_rss_mb"].tolist() == ["", "512.5", "600"]
    times = {time.rule: time for time in by_rule(read_jobs(root / "benchmarks"))}
    training = times["train_model"]
    assert (training.jobs, training.seconds, training.median) == (2, 51.0, 25.5)
    assert training.ended - training.started >= 30.5
    assert crate.get("#jobs-of-train_model")["name"] == "train_model: 2 jobs"


def test_pytorch_is_that_of_the_models_though_the_report_has_none(run):
    _, crate = run
    software = crate.mainEntity["softwareRequirements"]
    versions = [(entity["name"], entity["version"]) for entity in software]
    assert versions[:3] == [("torch", "2.14.1"), ("torch", "2.15.0"), ("numpy", "2.5.5")]
    assert versions[3][0] == "rocrate"


def test_the_commit_is_gits(run, tmp_path):
    root, crate = run
    started = json.loads((root / "logs/start.json").read_text())
    if "commit" in started:  # a copy of the sources without .git has none
        assert len(started["commit"]) == 40
        assert crate.mainEntity["identifier"].startswith(started["commit"])
    describe_start(tmp_path / "start.json", "snakemake", tmp_path, "9", {})
    assert "commit" not in json.loads((tmp_path / "start.json").read_text())
