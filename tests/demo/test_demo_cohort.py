"""The simulated cohort as its users meet it: files that OpenSlide opens, tables, a second call."""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from demo.cohort import make_cohort
from demo.plan import plan_cohort

SIDE = 2048


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "demo"
    make_cohort(folder, patients=8, side=SIDE, jobs=1)
    return folder


@pytest.fixture(scope="module")
def odd(cohort):
    """What is odd -> slide id, from truth.csv."""
    found = {}
    for row in read(cohort / "truth.csv"):
        for note in filter(None, row["odd"].split("; ")):
            slide, _, what = note.rpartition(": ")
            found[what] = slide
    return found


def test_a_slide_is_a_pyramid_of_jpeg_tiles_with_its_scale(cohort):
    slide = openslide.OpenSlide(cohort / "slides/S001.tiff")
    assert slide.level_dimensions == (
        (SIDE, SIDE),
        (SIDE // 4, SIDE // 4),
        (SIDE // 16, SIDE // 16),
    )
    assert slide.level_downsamples == (1.0, 4.0, 16.0)
    assert float(slide.properties["openslide.mpp-x"]) == 0.25
    assert float(slide.properties["openslide.mpp-y"]) == 0.25
    with tifffile.TiffFile(cohort / "slides/S001.tiff") as file:
        for page in file.pages:
            assert page.compression == tifffile.COMPRESSION.JPEG
            assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
            assert page.tags["YCbCrSubSampling"].value == (2, 2)
            assert (page.tilewidth, page.tilelength) == (256, 256)
        assert [page.is_reduced for page in file.pages] == [False, True, True]


def test_levels_show_the_same_picture(cohort):
    slide = openslide.OpenSlide(cohort / "slides/S001.tiff")
    full = np.asarray(slide.read_region((0, 0), 0, (SIDE, SIDE)).convert("RGB"))
    for level in (1, 2):
        size = slide.level_dimensions[level]
        small = np.asarray(slide.read_region((0, 0), level, size).convert("RGB"))
        expected = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
        # Blocks of JPEG's own size: what compression loses evens out within them, and a misplaced
        # row of tiles would cost tens of grey values.
        blocks = (size[0] // 8, size[1] // 8)
        coarse, wanted = (
            cv2.resize(i, blocks, None, 0, 0, cv2.INTER_AREA) for i in (small, expected)
        )
        assert np.abs(coarse.astype(float) - wanted).mean() < 1.5


def test_odd_slides_are_odd_as_the_truth_says(cohort, odd):
    def opened(what):
        return openslide.OpenSlide(cohort / "slides" / f"{odd[what]}.tiff")

    with pytest.raises(openslide.OpenSlideError):
        opened("file cut in the middle")
    blank = opened("glass only")
    pixels = np.asarray(blank.read_region((0, 0), 1, blank.level_dimensions[1]).convert("RGB"))
    assert pixels.min() > 220
    for what in (
        "no scale in the file, none in the table",
        "no scale in the file, given in the table",
    ):
        assert "openslide.mpp-x" not in opened(what).properties
    scan = opened("20x scan")
    assert float(scan.properties["openslide.mpp-x"]) == 0.5
    assert scan.level_downsamples == (1.0, 4.0, 8.0)
    assert scan.dimensions == (SIDE // 2, SIDE // 2)
    assert opened("one level only").level_count == 1


def test_tables_hold_every_slide_and_say_what_is_missing(cohort, odd):
    slides, patients = read(cohort / "slides.csv"), read(cohort / "patients.csv")
    assert list(slides[0]) == ["slide_id", "patient_id", "path", "mpp"]
    assert [row["patient_id"] for row in patients] == [f"P{n:03d}" for n in range(1, 9)]
    assert {Path(row["path"]).name for row in slides} == {
        path.name for path in (cohort / "slides").iterdir()
    }
    assert {row["slide_id"]: row["mpp"] for row in slides if row["mpp"]} == {
        odd["no scale in the file, given in the table"]: "0.25"
    }
    assert [row["patient_id"] for row in patients if not row["time"]] == ["P007"]
    owner = {row["slide_id"]: row["patient_id"] for row in slides}
    count = {p: list(owner.values()).count(p) for p in owner.values()}
    assert count[owner[odd["file cut in the middle"]]] == 1
    assert count[owner[odd["glass only"]]] == 2
    assert count[owner[odd["no scale in the file, none in the table"]]] == 2


def test_paths_start_with_the_folder_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_cohort("data/demo", patients=2, side=1024, bad_slides=False, jobs=1)
    assert [row["path"] for row in read("data/demo/slides.csv")] == [
        "data/demo/slides/S001.tiff",
        "data/demo/slides/S002.tiff",
    ]


def test_the_masks_hold_the_fraction_that_the_table_gives(cohort):
    for row in read(cohort / "truth.csv"):
        fractions = iter(row["slide_fractions"].split())
        for slide in row["slides"].split():
            mask = cv2.imread(str(cohort / f"truth/{slide}.png"), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(mask)) <= {0, 128, 255}
            if not mask.any():  # glass only
                continue
            # The mask samples one pixel in 16: a binomial error below 0.01 on 128 x 128.
            share = (mask == 255).sum() / (mask > 0).sum()
            assert share == pytest.approx(float(next(fractions)), abs=0.02)
            assert share == pytest.approx(float(row["pattern_fraction"]), abs=0.08)


def test_the_pattern_is_darker_and_bluer_than_the_rest(cohort):
    slide = openslide.OpenSlide(cohort / "slides/S008A.tiff")
    pixels = np.asarray(slide.read_region((0, 0), 2, slide.level_dimensions[2]).convert("RGB"))
    mask = cv2.imread(str(cohort / "truth/S008A.png"), cv2.IMREAD_UNCHANGED)
    red = pixels[..., 0].astype(float)
    assert red[mask == 255].mean() < red[mask == 128].mean() - 40
    assert red[mask == 0].mean() > 225


def test_the_mask_lies_on_the_picture(cohort):
    """Tissue in the mask is what is coloured in the slide."""
    slide = openslide.OpenSlide(cohort / "slides/S005.tiff")  # the 20x scan
    mask = cv2.imread(str(cohort / "truth/S005.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (SIDE // 2 // 16, SIDE // 2 // 16)
    pixels = np.asarray(slide.get_thumbnail(mask.shape[::-1]).convert("RGB")).astype(float)
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 25
    overlap = (coloured & (mask > 0)).sum() / (coloured | (mask > 0)).sum()
    assert overlap > 0.8


def test_the_same_bytes_for_any_number_of_jobs(tmp_path, monkeypatch):
    found = []
    for jobs in (1, 2):
        (tmp_path / str(jobs)).mkdir()
        monkeypatch.chdir(tmp_path / str(jobs))
        make_cohort("demo", patients=8, side=1024, jobs=jobs)
        found.append(digests(Path("demo")))
    assert found[0] == found[1]
    assert len(found[0]) == 4 + 2 * 11  # tables and manifest, a file and a mask for each slide


def test_a_second_call_does_nothing_and_a_lost_slide_is_made_again(tmp_path):
    def make(**changes):
        return make_cohort(tmp_path, **{"patients": 8, "side": 1024, "jobs": 1, **changes})

    assert make().made == 11
    before = digests(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert make().made == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times

    (tmp_path / "slides/S005.tiff").unlink()
    (tmp_path / "slides/S006.tiff").write_bytes(b"half a slide")
    assert make().made == 2
    assert digests(tmp_path) == before

    assert make(seed=1).made == 11
    assert make(seed=1, patients=9).made > 0
    assert (tmp_path / "slides/S009.tiff").exists()
    make(seed=1)
    assert not (tmp_path / "slides/S009.tiff").exists()


def test_the_default_cohort_is_large_enough_and_varied():
    plans = plan_cohort(48, 8192, 42, bad_slides=True)
    slides = [slide for patient in plans for slide in patient.slides]
    assert len(plans) >= 36
    assert len(slides) >= 44
    assert {len(patient.slides) for patient in plans} == {1, 2, 3}
    assert len({slide.slide_id for slide in slides}) == len(slides)
    assert min(p.fraction for p in plans) < 0.06
    assert max(p.fraction for p in plans) > 0.42
    assert {slide.pen for slide in slides} == {"", "blue", "green", "black"}
    assert any(slide.fold for slide in slides)
    for wanted in ("blank", "truncated", "no_mpp", "20x", "single_level"):
        assert sum(slide.odd == wanted for slide in slides) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--patients", "3"], "patients is 3; a cohort with bad slides needs at least 8"),
        (["--side", "1000"], "side is 1000; it must be a multiple of 256"),
    ],
)
def test_impossible_cohorts_are_refused_in_a_sentence(tmp_path, arguments, sentence):
    ran = subprocess.run(
        [sys.executable, "-m", "demo", str(tmp_path), *arguments], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert sentence in ran.stderr
    assert not list(tmp_path.iterdir())
