"""The cohort: usable slides with their hashes, everything else with its reason."""

import csv
import json

import numpy as np
import pytest

from mil.cohort import CohortError, gather_cohort
from wsi.outcome import write_failed
from wsi.storage import Outcome, save_npz, sha256_arrays, write_h5

STATISTICS = {
    "in_degree_min": 3,
    "in_degree_median": 8.0,
    "in_degree_max": 10,
    "pieces": 1,
    "long_edges": 0.1,
}
SLIDES = {"S1": "P1", "S2": "P2", "S3": "P1", "S4": "P3", "S5": "P4"}  # as in the slide table


class Results:
    """A results folder with all per-slide files of a small cohort, every one ok."""

    def __init__(self, folder, slides=SLIDES):
        self.root, self.slides = folder / "results", dict(slides)
        self.table = folder / "slides.csv"
        rows = "".join(f"{slide},{patient},x.svs\n" for slide, patient in slides.items())
        self.table.write_text("slide_id,patient_id,path\n" + rows)
        for number, slide in enumerate(slides):
            self.encode(slide, 16 * (number + 1))
            attributes = {"sha256": f"graph of {slide}", **STATISTICS, "pieces": number}
            attributes["neighbours"] = 8
            save_npz(self.graph(slide), Outcome(slide, "build_graph"), attributes, a=np.zeros(3))
        for patient in dict.fromkeys(slides.values()):
            attributes = {"sha256": f"clusters of {patient}", "k": 3}
            save_npz(self.cluster(patient), Outcome(patient, "cluster_patches"), attributes)

    def features(self, slide):
        return self.root / f"features/resnet50/{slide}.h5"

    def graph(self, slide):
        return self.root / f"graphs/resnet50/{slide}.npz"

    def cluster(self, patient):
        return self.root / f"clusters/resnet50/{patient}.npz"

    def encode(self, slide, n, width=4, stage="extract_features", **said):
        arrays = np.full((n, width), n, np.float32), np.zeros((n, 2), np.int64)
        attributes = {"sha256": sha256_arrays(*arrays), **said}
        datasets = dict(zip(("features", "coords"), arrays, strict=True))
        write_h5(self.features(slide), Outcome(slide, stage), datasets, attributes)

    def fail(self, slide, stage, kind, reason):
        outcome = Outcome(slide, stage, "failed", reason, kind)
        write_failed(self.features(slide), outcome)
        write_failed(self.graph(slide), outcome)

    def gather(self, max_failed_slides=0.5, strict=False, exclude=()):
        kept = [slide for slide in self.slides if slide not in exclude]
        gather_cohort(
            slides=str(self.table),
            features=[str(self.features(slide)) for slide in kept],
            graphs=[str(self.graph(slide)) for slide in kept],
            clusters=[str(self.cluster(p)) for p in {self.slides[slide]: 0 for slide in kept}],
            cohort=self.root / "cohort/resnet50.csv",
            graph_statistics=self.root / "cohort/resnet50.graphs.csv",
            excluded=self.root / "cohort/resnet50.excluded.csv",
            counts=self.root / "cohort/resnet50.json",
            root=str(self.root),
            max_failed_slides=max_failed_slides,
            strict=strict,
            exclude=exclude,
        )

    def rows(self, name):
        with open(self.root / "cohort" / name, newline="") as file:
            return list(csv.DictReader(file))

    def problems(self, **settings):
        with pytest.raises(CohortError) as caught:
            self.gather(**settings)
        return caught.value.problems


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def test_all_slides_usable(results):
    results.gather(max_failed_slides=0, strict=True)
    rows = results.rows("resnet50.csv")
    assert [row["slide_id"] for row in rows] == ["S1", "S2", "S3", "S4", "S5"]
    arrays = np.full((32, 4), 32, np.float32), np.zeros((32, 2), np.int64)
    assert rows[1] == {
        "slide_id": "S2",
        "patient_id": "P2",
        "n_patches": "32",
        "width": "4",
        "features": "features/resnet50/S2.h5",
        "features_sha256": sha256_arrays(*arrays),
        "graph": "graphs/resnet50/S2.npz",
        "graph_sha256": "graph of S2",
        "clusters": "clusters/resnet50/P2.npz",
        "clusters_sha256": "clusters of P2",
        "regions": "true",
        "encoder": "",
        "weights_sha256": "",
        "patch_px": "",
        "patch_um": "",
        "neighbours": "8",
        "clusters_k": "3",
    }
    assert results.rows("resnet50.graphs.csv")[1] == {
        "slide_id": "S2",
        "n_patches": "32",
        "in_degree_min": "3",
        "in_degree_median": "8",
        "in_degree_max": "10",
        "pieces": "1",
        "long_edges": "0.1",
    }
    assert results.rows("resnet50.excluded.csv") == []
    assert json.loads((results.root / "cohort/resnet50.json").read_text()) == {
        "slides": 5,
        "excluded_slides": 0,
        "failed_slides": 0,
        "failed_by_kind": {},
        "usable_slides": 5,
        "patients": 4,
        "patients_with_slides": 4,
        "patches": 16 + 32 + 48 + 64 + 80,
        "width": 4,
    }


def test_failed_slides_and_their_patients_are_listed(results):
    results.fail("S1", "find_tissue", "no_tissue", "no tissue was found.")
    results.fail("S4", "make_patches", "no_scale", "no scale: add mpp.")
    gone = Outcome("P3", "cluster_patches", "failed", "none can be used.", "no_slide")
    write_failed(results.cluster("P3"), gone)
    results.gather(exclude=["S5"])
    assert [row["slide_id"] for row in results.rows("resnet50.csv")] == ["S2", "S3"]
    excluded = results.rows("resnet50.excluded.csv")
    assert [list(row.values()) for row in excluded] == [
        ["slide", "S1", "P1", "find_tissue", "no_tissue", "no tissue was found."],
        ["slide", "S4", "P3", "make_patches", "no_scale", "no scale: add mpp."],
        ["slide", "S5", "P4", "configuration", "excluded", "left out under exclude"],
        ["patient", "P3", "P3", "gather_cohort", "no_slide", "no usable slide: S4 (no_scale)"],
        ["patient", "P4", "P4", "gather_cohort", "no_slide", "no usable slide: S5 (excluded)"],
    ]
    counts = json.loads((results.root / "cohort/resnet50.json").read_text())
    assert counts["failed_by_kind"] == {"no_scale": 1, "no_tissue": 1}
    assert (counts["slides"], counts["excluded_slides"], counts["failed_slides"]) == (5, 1, 2)
    assert (counts["usable_slides"], counts["patients_with_slides"]) == (2, 2)


def test_a_failed_graph_or_cluster_drops_slides_too(results):
    crash = Outcome("S2", "build_graph", "failed", "killed by SIGSEGV.", "crash")
    write_failed(results.graph("S2"), crash)
    crash = Outcome("P1", "cluster_patches", "failed", "out of memory.", "crash")
    write_failed(results.cluster("P1"), crash)
    results.gather(max_failed_slides=0.6)
    assert [row["slide_id"] for row in results.rows("resnet50.csv")] == ["S4", "S5"]
    assert [tuple(row.values())[:5] for row in results.rows("resnet50.excluded.csv")] == [
        ("slide", "S1", "P1", "cluster_patches", "crash"),
        ("slide", "S2", "P2", "build_graph", "crash"),
        ("slide", "S3", "P1", "cluster_patches", "crash"),
        ("patient", "P1", "P1", "gather_cohort", "no_slide"),
        ("patient", "P2", "P2", "gather_cohort", "no_slide"),
    ]


def test_a_slide_without_patches_is_not_usable(results):
    results.encode("S2", 0)
    results.gather()
    kinds = [row["kind"] for row in results.rows("resnet50.excluded.csv")]
    assert kinds == ["no_tissue", "no_slide"]


def test_the_run_stops_past_the_share_of_failures(results):
    for slide in ("S1", "S4"):
        results.fail(slide, "find_tissue", "unreadable", "cannot be opened.")
    results.gather(max_failed_slides=0.4)
    assert results.problems(max_failed_slides=0.39) == [
        "2 of 5 slides failed (40%); max_failed_slides lets 39% fail. Mend them, or name them "
        "under exclude: S1, S4.",
        "slide S1 (unreadable): cannot be opened.",
        "slide S4 (unreadable): cannot be opened.",
    ]
    assert results.problems(max_failed_slides=1, strict=True)[0].startswith(
        "2 of 5 slides failed (40%); strict: true lets none fail."
    )
    results.gather(max_failed_slides=0, strict=True, exclude=["S1", "S4"])


def test_a_cohort_without_any_slide_is_refused(results):
    for slide in SLIDES:
        results.fail(slide, "find_tissue", "unreadable", "cannot be opened.")
    assert "none is usable" in results.problems(max_failed_slides=1)[0]


def test_regions_are_those_of_our_own_patches_or_what_an_import_found(results):
    results.encode("S1", 16, stage="import_features", regions=True)
    results.encode("S2", 32, stage="import_features", regions=False)
    results.encode("S3", 48, stage="import_features")  # it does not say
    results.gather()
    found = [row["regions"] for row in results.rows("resnet50.csv")]
    assert found == ["true", "false", "false", "true", "true"]


def test_widths_must_agree(results):
    results.encode("S3", 16, width=5)
    assert results.problems() == [
        "features are 4 wide but for slides S3; remove their feature files and run again "
        "(imported ones: have them extracted again), so that one encoder makes all."
    ]


def test_bytes_follow_the_content_alone(results, tmp_path):
    results.gather()
    before = (results.root / "cohort/resnet50.csv").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    other = Results(tmp_path / "elsewhere")
    other.gather()
    assert (other.root / "cohort/resnet50.csv").read_bytes() == before
    other.encode("S5", 96)
    other.gather()
    assert (other.root / "cohort/resnet50.csv").read_bytes() != before


def test_what_made_the_features_goes_along(results):
    """Of published weights the hash of their file counts, of an assumed scale nothing."""
    known = {"encoder": "uni", "weights_sha256": "o" * 64, "size": 256, "footprint0": 1024}
    results.encode("S1", 16, **known, mpp0=0.25, published_sha256="p" * 64)
    results.encode("S2", 16, **known, mpp0=0.25, published_sha256="", mpp_source="assumed: 40x")
    results.gather()
    columns = ("encoder", "weights_sha256", "patch_px", "patch_um")
    first, second, *_ = ([row[name] for name in columns] for row in results.rows("resnet50.csv"))
    assert first == ["uni", "p" * 64, "256", "256"]
    assert second == ["uni", "o" * 64, "256", ""]
