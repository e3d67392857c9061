"""Columns tissue and patches, CLAM's presets and process lists: each reaches its slides only."""

import csv
import json
import re
import shutil

import pytest
import yaml

from wsi.clam.process_list import ProcessRow, write_process_list
from wsi.clam.segmentation import ClamParameters
from wsi.storage import read_attributes, read_h5

pytestmark = pytest.mark.xdist_group("fresh")

SLIDES = ("S001", "S005", "S009")


@pytest.fixture(scope="module")
def three(project, tmp_path_factory):
    """A project of three good slides whose tissue and patches are done."""
    folder = tmp_path_factory.mktemp("options") / "project"
    shutil.copytree(project.folder, folder)
    copy = type(project)(folder)
    write_slides(copy)
    copy.run("patches")
    return copy


def write_slides(project, **columns):
    """Write the table of three slides; `columns` is name -> slide -> cell."""
    with open(project.folder / "data/slides.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["slide_id"] in SLIDES]
    known = ("slide_id", "patient_id", "path", "mpp")
    rows = [{name: row[name] for name in known} for row in rows]
    for name, cells in columns.items():
        rows = [{**row, name: cells.get(row["slide_id"], "")} for row in rows]
    with open(project.folder / "data/slides.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def of_slides(three):
    """Return a function that writes the slide table; afterwards it is as before."""
    yield lambda **columns: write_slides(three, **columns)
    write_slides(three)


def with_config(project, **blocks):
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    for name, block in blocks.items():
        config[name] = {**config.get(name, {}), **block}
    (project.folder / "changed.yaml").write_text(yaml.safe_dump(config))
    return "--configfile", "changed.yaml"


def jobs(*names):
    return {job for job in names if job} | {"table of slides"}


def tissue(project, slide):
    return json.loads((project.folder / f"results/tissue/{slide}.geojson").read_text())


def test_nothing_is_left_to_do(three):
    assert three.planned("patches") == set()
    for slide in SLIDES:
        assert tissue(three, slide)["outcome"]["status"] == "ok"


def test_tissue_of_ones_own_is_used_for_its_slide(three, of_slides):
    edited = tissue(three, "S005")
    edited["features"] = edited["features"][:1]
    ring = [[0, 0], [600, 0], [600, 800], [0, 800], [0, 0]]
    edited["features"][0]["geometry"]["coordinates"] = [ring]
    own = three.folder / "data/own.geojson"
    own.write_text(json.dumps(edited))
    of_slides(tissue={"S005": "data/own.geojson"})
    assert three.planned("patches") == jobs("tissue of S005", "patches of S005")
    three.run("patches")
    found = tissue(three, "S005")
    assert [f["geometry"]["coordinates"] for f in found["features"]] == [[ring]]
    assert found["slide"]["method"] == "given: data/own.geojson"
    # the file edited again: its slide and no other
    ring[1][0] = ring[2][0] = 900
    edited["features"][0]["geometry"]["coordinates"] = [ring]
    own.write_text(json.dumps(edited))
    assert three.planned("patches") == jobs("tissue of S005", "patches of S005")
    of_slides()
    assert three.planned("patches") == jobs("tissue of S005", "patches of S005")
    three.run("patches")
    assert tissue(three, "S005")["slide"]["method"] != "given: data/own.geojson"


def test_patches_made_elsewhere_are_used_for_their_slide(three, of_slides):
    level2 = three.folder / "results/patches/level2/S009.h5"
    shutil.copy2(level2, three.folder / "data/own.h5")
    before, _ = read_h5(level2)
    of_slides(patches={"S009": "data/own.h5"})
    assert three.planned("patches") == jobs("patches of S009")  # its tissue stays
    three.run("patches")
    after, attributes = read_h5(level2)
    assert attributes["given"] == "data/own.h5"
    assert after["coords"].tolist() == before["coords"].tolist()


def test_a_file_that_is_not_there_is_named_with_its_line(three, of_slides):
    of_slides(tissue={"S009": "data/none.geojson"})
    result = three.run("-n", "patches", check=False)
    assert result.returncode != 0
    said = "data/slides.csv, line 4: tissue is data/none.geojson; there is no such file"
    assert said in " ".join((result.stdout + result.stderr).split())


def test_what_is_dropped_changes_patches_and_not_tissue(three):
    planned = three.planned("patches", *with_config(three, tissue={"drop": ["blur"]}))
    assert planned == jobs(*(f"patches of {slide}" for slide in SLIDES))


def test_limits_of_tissue_change_both(three):
    planned = three.planned("patches", *with_config(three, tissue={"min_hole_mm2": 0.5}))
    assert planned == jobs(
        *(f"{what} of {slide}" for slide in SLIDES for what in ("tissue", "patches"))
    )


def test_a_preset_of_clam_is_for_all_and_a_process_list_for_its_slides(three):
    rows = [ProcessRow("S005.tiff", ClamParameters(a_t=0.5, sthresh=20), contour_fn="four_pt_hard"),
            ProcessRow("other.tiff"),
            ProcessRow("S009.tiff", ClamParameters(sthresh=30), process=False)]  # fmt: skip
    write_process_list(three.folder / "list.csv", rows)
    clam = {"preset": "tcga", "a_t": 1}
    three.run("patches", *with_config(three, tissue={**clam, "process_list": "list.csv"}))
    without = with_config(three, tissue=clam)  # only the slide that is listed and to be done
    assert three.planned("patches", *without) == jobs("tissue of S005", "patches of S005")
    thresholds = {slide: tissue(three, slide)["slide"]["parameters"] for slide in SLIDES}
    assert {s: p.get("sthresh") for s, p in thresholds.items()} == {
        **dict.fromkeys(("S001", "S009")),
        "S005": 20,
    }
    assert {p["a_t"] for p in thresholds.values()} == {1, 0.5}
    for slide, rule in (("S001", "fraction"), ("S005", "four_pt_hard"), ("S009", "fraction")):
        attributes = read_attributes(three.folder / f"results/patches/level2/{slide}.h5")
        laid = json.loads(attributes["patches"]) if attributes["status"] == "ok" else {}
        assert laid.get("rule", rule) == rule, slide
    # the list written for CLAM says so too
    with open(three.folder / "results/process_list_autogen.csv", newline="") as file:
        written = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert (written["S005.tiff"]["sthresh"], written["S001.tiff"]["sthresh"]) == ("20", "8")
    assert written["S001.tiff"]["a_h"] == "4.0"


def test_a_process_list_with_a_mistake_is_named_with_its_line(three):
    (three.folder / "list.csv").write_text("slide_id,process,a_t\nS005.tiff,1,much\n")
    settings = with_config(three, tissue={"preset": "tcga", "process_list": "list.csv"})
    result = three.run("-n", "patches", *settings, check=False)
    assert result.returncode != 0
    said = " ".join((result.stdout + result.stderr).split())
    assert re.search(r"list.csv, line 2: a_t is much for slide S005.tiff; it must be", said)
