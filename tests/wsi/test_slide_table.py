"""The table of slides and CLAM's process list, over a cohort that has one of everything."""

import csv

import cv2
import numpy as np
import pytest

from tests.wsi.stage_runs import LIMITS, PATCHES, settings_of
from wsi.clam.process_list import COLUMNS as PROCESS_COLUMNS
from wsi.clam.process_list import overrides, read_process_list
from wsi.clam.segmentation import PRESETS, ClamParameters
from wsi.patches import make_patches
from wsi.slide_table import COLUMNS, list_slides
from wsi.storage import read_h5
from wsi.tissue import find_tissue

GLASS = (242, 240, 243)
MPP = 0.5  # coarse patches of 512 level-0 pixels
HEIGHT, WIDTH = 1536, 2048
OK = [f"ok{number}" for number in range(7)]


def tissue(seed, stain=(150, 80, 130)):
    """3 x 2 coarse patches of tissue on glass, with nuclei."""
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), GLASS, np.uint8)
    part = rgb[:1024, :1536]
    part[:] = stain + rng.integers(-15, 16, (1024, 1536, 1))
    for x, y in rng.integers(0, (1536, 1024), (2500, 2)).tolist():
        cv2.circle(part, (x, y), 8, (80 + seed, 50, 120), -1)
    return rgb


@pytest.fixture(scope="module")
def cohort(make_slide, damage_tile, tmp_path_factory):
    """Slides by id, with the folder of what the stages made of them."""
    folder = tmp_path_factory.mktemp("cohort")
    pictures = {slide: tissue(seed) for seed, slide in enumerate(OK)}
    blurred = tissue(8)
    blurred[:1024, :512] = cv2.GaussianBlur(blurred[:1024, :512], (0, 0), 14)  # 2 of 6
    pictures |= {
        "odd": tissue(7, stain=(160, 120, 70)),
        "blurred": blurred,
        "patched": tissue(9),
        "damaged": tissue(10),
        "no_tissue": np.full((HEIGHT, WIDTH, 3), GLASS, np.uint8),
        "no_scale": tissue(11),
    }
    slides = {}
    for slide, rgb in pictures.items():
        path = folder / f"{slide}.scan.tiff"
        mpp = None if slide == "no_scale" else MPP
        slides[slide] = str(make_slide(path, rgb, mpp, downsamples=(4,), tile=128))
    damage_tile(slides["patched"], 0, 0)  # tissue is found at level 1, patches read at level 1
    damage_tile(slides["damaged"], 1, 0)
    (folder / "unreadable.svs").write_bytes(b"")
    slides["unreadable"] = str(folder / "unreadable.svs")
    for slide, path in slides.items():
        run(path, folder, slide)
    return slides, folder


def run(path, folder, slide, **settings):
    find, lay = settings_of(path, folder, slide, **settings)
    find_tissue(**find)
    make_patches(**lay)


def listed(slides, folder, settings=None):
    """Return the rows of the table by slide, and the path of the process list."""
    list_slides(
        slides=slides,
        tissue=[f"{folder}/tissue/{slide}.geojson" for slide in slides],
        patches=[f"{folder}/level2/{slide}.h5" for slide in slides],
        settings=settings or PATCHES,
        table=str(folder / "slides.csv"),
        process_list=str(folder / "list.csv"),
    )
    with open(folder / "slides.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["slide_id"] for row in rows] == list(slides)  # in the order of the slide table
    assert list(rows[0]) == list(COLUMNS)
    return {row["slide_id"]: row for row in rows}, folder / "list.csv"


def test_every_slide_has_its_status_and_its_reason(cohort):
    rows, _ = listed(*cohort)
    status = {slide: row["status"] for slide, row in rows.items()}
    assert status == {
        **dict.fromkeys([*OK, "odd", "blurred", "patched"], "ok"),
        **{kind: kind for kind in ("damaged", "no_tissue", "no_scale", "unreadable")},
    }
    for slide, row in rows.items():
        assert bool(row["reason"]) == (row["status"] != "ok"), slide
    assert rows["no_tissue"]["reason"].startswith("slide no_tissue: no tissue. Nothing on it is")
    assert "add a column mpp" in rows["no_scale"]["reason"]
    assert "is empty (0 bytes)" in rows["unreadable"]["reason"]
    assert "cannot be read, so tissue would be missed" in rows["damaged"]["reason"]


def test_what_is_known_of_a_usable_slide(cohort):
    slides, folder = cohort
    row = listed(slides, folder)[0]["ok0"]
    assert (row["format"], row["backend"], row["levels"]) == ("generic-tiff", "tiff", "2")
    assert (row["width"], row["height"]) == ("2048", "1536")
    assert (row["mpp"], row["mpp_source"]) == ("0.5", "openslide.mpp")
    assert (row["icc_profile"], row["pieces"]) == ("False", "1")
    assert float(row["tissue_mm2"]) == pytest.approx(1536 * 1024 * 0.25e-6, rel=0.05)
    assert row["method"] == "colour or optical density"
    assert (float(row["pen_mm2"]), float(row["fold_share"])) == (0, 0)
    assert (row["coarse_patches"], row["dropped"]) == ("6", "0")
    for name in ("pen_patches", "fold_patches", "blur_patches", "unreadable_patches",
                 "damaged_tiles"):  # fmt: skip
        assert row[name] == "0", name
    arrays, attributes = read_h5(folder / "level2/ok0.h5")
    assert float(row["median_focus"]) == pytest.approx(float(np.median(arrays["focus"])), rel=1e-3)
    assert float(row["median_density"]) == pytest.approx(
        float(np.median(arrays["density"])), rel=1e-3
    )
    assert row["fingerprint"] == attributes["fingerprint"]
    assert row["look"] == ""


def test_slides_that_fail_have_no_numbers_that_were_not_found(cohort):
    rows, _ = listed(*cohort)
    for slide in ("no_tissue", "no_scale", "unreadable", "damaged"):
        known = {name for name, value in rows[slide].items() if value}
        assert known == {"slide_id", "status", "reason"}, slide


def test_why_a_person_should_look(cohort):
    rows, _ = listed(*cohort)
    assert "33% of its patches are out of focus." in rows["blurred"]["look"]
    assert rows["blurred"]["blur_patches"] == "2"
    assert "the median of the cohort is" in rows["odd"]["look"]
    assert {slide for slide, row in rows.items() if "cohort" in row["look"]} == {"odd"}
    assert {slide for slide, row in rows.items() if "focus" in row["look"]} == {"blurred"}


def test_no_stain_is_odd_among_fewer_than_eight(cohort):
    slides, folder = cohort
    few = {slide: slides[slide] for slide in (*OK[:6], "odd", "unreadable")}
    assert listed(few, folder)[0]["odd"]["look"] == ""


def test_damage_that_did_not_stop_a_slide_is_counted(cohort, make_slide, damage_tile, tmp_path):
    rows, _ = listed(*cohort)
    assert rows["patched"]["damaged_tiles"] == "0"  # level 0 was not needed
    path = make_slide(tmp_path / "a.tiff", tissue(3), MPP, downsamples=(), tile=128)
    damage_tile(path, 0, 0)  # 128 x 128 of 2048 x 1536: half a percent
    run(path, tmp_path, "a")
    row = listed({"a": str(path)}, tmp_path)[0]["a"]
    assert (row["status"], row["damaged_tiles"], row["unreadable_patches"]) == ("ok", "1", "1")


def test_dropped_patches_are_counted_and_the_blurred_share_is_of_all(cohort, tmp_path):
    slides, _ = cohort
    run(slides["blurred"], tmp_path, "blurred", drop=["blur"])
    row = listed({"blurred": slides["blurred"]}, tmp_path)[0]["blurred"]
    assert (row["coarse_patches"], row["dropped"], row["blur_patches"]) == ("4", "2", "0")
    assert "33% of its patches are out of focus." in row["look"]


def test_a_slide_whose_patches_fail_keeps_what_its_tissue_says(cohort, tmp_path):
    slides, _ = cohort
    run(slides["ok0"], tmp_path, "ok0", min_tissue=1, size=512)
    row = listed({"ok0": slides["ok0"]}, tmp_path)[0]["ok0"]
    assert row["status"] == "no_tissue"
    assert "no patch of 4096 px has 100% tissue" in row["reason"]
    assert float(row["tissue_mm2"]) > 0.3
    assert row["coarse_patches"] == ""


def test_a_cohort_without_a_usable_slide(cohort):
    slides, folder = cohort
    failed = ("no_tissue", "no_scale", "unreadable", "damaged")
    rows, path = listed({slide: slides[slide] for slide in failed}, folder)
    assert [row["status"] for row in rows.values()] == list(failed)
    assert {cells["status"] for cells in process_rows(path).values()} == {"failed_seg"}


def process_rows(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(PROCESS_COLUMNS)
    return {row["slide_id"]: row for row in rows}


def redo(path):
    """Return what CLAM and we read from a process list whose rows are all to be done again."""
    rows = list(process_rows(path).values())
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, PROCESS_COLUMNS)
        writer.writeheader()
        writer.writerows([{**row, "process": "1"} for row in rows])
    return read_process_list(path)


def test_the_process_list_has_file_names_and_clams_status(cohort):
    slides, folder = cohort
    _, path = listed(slides, folder)
    rows = process_rows(path)
    assert list(rows) == [f"{slide}.scan.tiff" for slide in list(slides)[:-1]] + ["unreadable.svs"]
    status = {name.split(".")[0]: row["status"] for name, row in rows.items()}
    assert {slide for slide, said in status.items() if said == "processed"} == {
        *(*OK, "odd", "blurred", "patched")
    }
    assert set(status.values()) == {"processed", "failed_seg"}
    assert {row["process"] for row in rows.values()} == {"0"}  # taken
    assert read_process_list(path) == {}  # so nothing is to be done
    assert (rows["ok0.scan.tiff"]["seg_level"], rows["ok0.scan.tiff"]["vis_level"]) == ("1", "1")
    again = redo(path)
    assert len(again) == len(slides)
    # tissue was found our own way: CLAM's parameters are those of its command
    assert again["ok0.scan.tiff"].parameters == ClamParameters(seg_level=1)
    assert again["unreadable.svs"].parameters == ClamParameters()
    assert again["ok0.scan.tiff"].contour_fn == "four_pt"


def test_clams_parameters_come_back_as_they_were_used(cohort, tmp_path):
    slides, _ = cohort
    own = {"preset": "bwh_biopsy", "a_t": 0.5, "keep_ids": [0], "exclude_ids": []}
    laid = {"grid": "contour", "rule": "four_pt_hard", "padding": False}
    run(slides["ok0"], tmp_path, "ok0", tissue=own, **laid)
    run(slides["ok1"], tmp_path, "ok1", tissue={"preset": "tcga", "a_t": 1})
    chosen = {slide: slides[slide] for slide in ("ok0", "ok1")}
    rows, path = listed(chosen, tmp_path)
    assert rows["ok0"]["method"] == "CLAM (bwh_biopsy)"
    again = redo(path)
    row = again["ok0.scan.tiff"]
    assert row.parameters == ClamParameters(
        seg_level=1, sthresh=15, mthresh=11, close=2, a_t=0.5, a_h=1, max_n_holes=2, keep_ids=(0,)
    )
    # each slide's own way of laying patches, which a process list may have changed
    assert (row.contour_fn, row.use_padding) == ("four_pt_hard", False)
    assert (again["ok1.scan.tiff"].contour_fn, again["ok1.scan.tiff"].use_padding) == (
        *("four_pt", True),
    )
    assert again["ok1.scan.tiff"].parameters.a_h == PRESETS["tcga"].a_h
    # given back, the list leads to the same patches
    tissue_settings, patch_settings = overrides(path, {"preset": "clam"})["ok0.scan.tiff"]
    parameters = {"preset": "clam", **LIMITS, **tissue_settings}
    run(slides["ok0"], tmp_path / "again", "ok0", tissue=parameters, grid="contour",
        **patch_settings)  # fmt: skip
    before, _ = read_h5(tmp_path / "level2/ok0.h5")
    after, _ = read_h5(tmp_path / "again/level2/ok0.h5")
    assert len(before["coords"]) > 0
    np.testing.assert_array_equal(before["coords"], after["coords"])
