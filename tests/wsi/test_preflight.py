import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from wsi.patches import make_patches
from wsi.preflight import check, slide
from wsi.preflight.apart import LostError, run_apart
from wsi.preflight.check import check_slides
from wsi.preflight.rows import EncoderRow, SlideRow, read_rows
from wsi.preflight.slide import check_slide
from wsi.preflight.speed import time_encoder
from wsi.storage import read_h5
from wsi.tissue import find_tissue

TISSUE = (190, 110, 170)
# a coarse patch is 1,024 px of a 40x slide: real stages on small slides
SCALE = {"by": "mpp", "coarse": 4.0, "fine": 1.0}
PARAMETERS = {"preset": "default", "close_um": 30.0, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}
LAYING = {"size": 64, "step": None, "grid": "slide", "rule": "fraction", "min_tissue": 0.25,
          "padding": True, "pad": "background"}  # fmt: skip


def entry(path, slide_id="S1", patient_id="P1", mpp=None, laying=LAYING, **given):
    row = {"slide_id": slide_id, "patient_id": patient_id, "path": str(path), "mpp": mpp}
    how = {"parameters": PARAMETERS, "laying": laying}
    return {**row, "tissue": None, "patches": None, **how, **given}


def run(folder, entries, **changed):
    output, speeds = folder / "slides.csv", folder / "encoders.csv"
    given = {"scale": SCALE, "size": 64, "encoders": {}, "workers": 2, **changed}
    check_slides(slides=entries, output=str(output), speeds=str(speeds), **given)
    return read_rows(output, SlideRow), read_rows(speeds, EncoderRow)


def drawn(glass, noise, side=4096, seed=0):
    """Textured tissue on glass: a large piece with a round border and a hole, and a small piece."""
    rgb, texture = glass(side, side), noise(side, side, seed)
    y, x = np.mgrid[:side, :side] / side
    tissue = ((x - 0.4) ** 2 + (y - 0.45) ** 2 < 0.09) & ((x - 0.4) ** 2 + (y - 0.4) ** 2 > 0.008)
    tissue |= (abs(x - 0.85) < 0.1) & (abs(y - 0.8) < 0.15)
    rgb[tissue] = np.array(TISSUE) * (0.7 + 0.3 * texture[tissue] / 255)
    return rgb


@pytest.fixture(scope="module")
def cohort(make_slide, glass, noise, damage_tile, tmp_path_factory):
    """Rows of a cohort in which every kind of trouble is met once, by slide id."""
    folder = tmp_path_factory.mktemp("cohort")
    rgb, other = drawn(glass, noise), drawn(glass, noise, seed=1)
    good = make_slide(folder / "good.tiff", rgb)
    scan20 = make_slide(folder / "20x.tiff", other[::2, ::2].copy(), 0.5)
    coarse = make_slide(folder / "coarse.tiff", other[::8, ::8].copy(), 2.0)
    damaged = make_slide(folder / "damaged.tiff", drawn(glass, noise, seed=2))
    for number in range(4):
        damage_tile(damaged, 1, number + 5)
    cut = folder / "cut.tiff"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "empty.tiff").touch()
    entries = [
        entry(good, "good", "P1"),
        entry(good, "again", "P1"),
        entry(shutil.copy(good, folder / "renamed.tiff"), "renamed", "P2"),
        entry(make_slide(folder / "unscaled.tiff", other, None), "unscaled", "P3"),
        entry(folder / "unscaled.tiff", "scaled", "P3", 0.25),
        entry(cut, "cut", "P4"),
        entry(folder / "empty.tiff", "empty", "P4"),
        entry(folder / "gone.tiff", "gone", "P5"),
        entry(scan20, "20x", "P6"),
        entry(coarse, "coarse", "P7"),
        entry(make_slide(folder / "blank.tiff", glass(4096, 4096)), "blank", "P8"),
        entry(damaged, "damaged", "P9"),
    ]
    rows, _ = run(folder, entries)
    assert [row.slide_id for row in rows] == [given["slide_id"] for given in entries]
    return {row.slide_id: row for row in rows}


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("unscaled", "no_scale", "add a column mpp"),
        ("cut", "unreadable", "cut off while it was copied"),
        ("empty", "unreadable", "is empty"),
        ("gone", "unreadable", "does not exist"),
        ("coarse", "no_scale", "the scan is too coarse: 2 um/px, but patches need 1.0"),
        ("blank", "no_tissue", "no tissue"),
        ("damaged", "check", "have parts that cannot be read"),
        ("20x", "ok", ""),
        ("scaled", "check", ""),
        ("good", "check", ""),
    ],
)
def test_a_slide_has_a_status_and_a_reason(cohort, name, status, said):
    row = cohort[name]
    assert row.status == status, row.reason
    assert said in row.reason
    assert bool(row.reason) == bool(said)


def test_a_good_slide_is_described(cohort):
    row = cohort["good"]
    assert (row.width, row.height, row.levels) == (4096, 4096, "1 4 16")
    assert (row.mpp, row.mpp_source) == (0.25, "openslide.mpp")
    assert (row.format, row.backend) == ("generic-tiff", "tiff")
    assert row.size_bytes == Path(row.path).stat().st_size
    assert (row.read_level, row.read_factor) == (1, 1.0), "pixel for pixel"
    assert (cohort["20x"].read_level, cohort["20x"].read_factor) == (0, 2.0), "reduced"
    area = np.pi * (0.09 - 0.008) + 0.2 * 0.3
    assert row.tissue_mm2 == pytest.approx(area * 1.024**2, rel=0.05)
    assert (row.places_tried, row.places_unreadable) == (6, 0)
    assert row.mpx_per_s > 1
    assert row.reading_s == pytest.approx(row.patches * 64**2 / 1e6 / row.mpx_per_s, abs=2e-4)


def test_copies_are_named_in_each_row(cohort):
    assert cohort["good"].duplicate_of == "again renamed"
    assert cohort["renamed"].duplicate_of == "good again"
    assert cohort["unscaled"].duplicate_of == "scaled"
    assert not cohort["20x"].duplicate_of
    assert not cohort["gone"].duplicate_of


def laid_by_the_run(checked, folder, scale=SCALE):
    """Return the patch file of the stages of the run."""
    names = ("tissue.geojson", "tissue.jpg", "1.h5", "2.h5", "patches.jpg")
    tissue, thumbnail, level1, level2, picture = (str(folder / name) for name in names)
    shared = {"slide_id": "S1", "slide": checked["path"], "tissue": tissue, "thumbnail": thumbnail}
    find_tissue(**shared, mpp=checked["mpp"], scale_by="mpp", parameters=checked["parameters"],
                given=checked["tissue"])  # fmt: skip
    make_patches(**shared, level1=level1, level2=level2, picture=picture, scale=scale,
                 patches=checked["laying"], given=checked["patches"])  # fmt: skip
    return level1, level2


def count(path):
    return len(read_h5(path)[0]["coords"])


def test_patches_are_those_of_the_run(cohort, tmp_path):
    for name in ("good", "scaled", "20x", "damaged"):
        row = cohort[name]
        checked = entry(row.path, mpp=0.25 if name == "scaled" else None)
        assert row.estimate == "counted"
        assert row.patches == count(laid_by_the_run(checked, tmp_path)[0]) > 0


@pytest.mark.parametrize(
    "laying",
    [
        {"step": 32},
        {"padding": False, "min_tissue": 0.05},
        {"grid": "contour", "rule": "four_pt"},
        {"grid": "slide", "rule": "center"},
    ],
    ids=str,
)
def test_patches_are_those_of_the_run_however_they_are_laid(cohort, tmp_path, laying):
    checked = entry(cohort["good"].path, laying=LAYING | laying)
    row = check_slide(checked, scale=SCALE)
    assert row.patches == count(laid_by_the_run(checked, tmp_path)[0]) > 0


def test_coordinates_made_elsewhere_are_counted_and_judged(cohort, tmp_path):
    path = cohort["good"].path
    _, level2 = laid_by_the_run(entry(path), tmp_path)
    fits = check_slide(entry(path, patches=level2), scale=SCALE)
    assert (fits.status, fits.patches) == ("ok", cohort["good"].patches), fits.reason
    misfit = check_slide(entry(path, patches=level2), scale={**SCALE, "coarse": 8.0, "fine": 2.0})
    assert misfit.status == "no_scale"
    assert "choose scale and patches: size to match" in misfit.reason


@pytest.mark.realdata
def test_patches_of_real_slides_are_those_of_the_run(real_slides, tmp_path):
    scale = {"by": "mpp", "coarse": 2.0, "fine": 0.5}
    paths = sorted((real_slides / "monuseg_padded").glob("*.tiff"))[:4]
    for path in [*paths, real_slides / "native/CMU-1-Small-Region.svs"]:
        checked = entry(path, laying=LAYING | {"size": 128, "min_tissue": 0.1})
        row = check_slide(checked, scale=scale)
        assert row.usable, row.reason
        assert row.patches == count(laid_by_the_run(checked, tmp_path, scale)[0]) > 0


def test_a_slide_too_large_to_look_at_whole_is_sampled(
    make_slide, glass, noise, tmp_path, monkeypatch
):
    path = make_slide(tmp_path / "a.tiff", drawn(glass, noise, 6144), downsamples=())
    counted = check_slide(entry(path), scale=SCALE)
    monkeypatch.setattr(slide, "QUICK", 0)
    monkeypatch.setattr(slide, "LONG", 0.0)
    sampled = check_slide(entry(path), scale=SCALE)
    assert (sampled.status, sampled.estimate) == ("check", "sampled")
    assert sampled.patches == pytest.approx(counted.patches, rel=0.15)
    assert sampled.tissue_mm2 == pytest.approx(counted.tissue_mm2, rel=0.15)
    assert sampled.reading_s == pytest.approx(counted.reading_s, rel=1.0)


def test_doubts_about_the_scale_ask_for_a_look(make_slide, glass, noise, tmp_path):
    path = make_slide(tmp_path / "a.svs", drawn(glass, noise), description="Aperio |AppMag = 10")
    row = check_slide(entry(path), scale=SCALE)
    assert row.status == "check"
    assert "is the scale right?" in row.reason


def kill(given, **settings):
    if given["slide_id"] == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return check_slide(given, **settings)


def hang(given, **settings):
    if given["slide_id"] == "deadly":
        time.sleep(600)
    return check_slide(given, **settings)


def fail(given, **settings):
    if given["slide_id"] == "deadly":
        raise MemoryError("too large")
    return check_slide(given, **settings)


@pytest.mark.parametrize(
    ("looking", "seconds", "said"),
    [
        (kill, 60, "was killed by SIGKILL"),
        (hang, 6, "gave no answer within 6 s"),
        (fail, 60, "raised MemoryError: too large"),
    ],
)
def test_a_slide_that_takes_its_process_with_it_costs_only_itself(
    make_slide, glass, noise, tmp_path, monkeypatch, looking, seconds, said
):
    path = make_slide(tmp_path / "a.tiff", drawn(glass, noise, 2048))
    monkeypatch.setattr(check, "check_slide", looking)
    names = ["before", "deadly", "after", "last"]
    rows, _ = run(tmp_path, [entry(path, name) for name in names], seconds=seconds)
    assert [row.slide_id for row in rows] == names
    assert [row.usable for row in rows] == [True, False, True, True]
    assert rows[1].status == "crash"
    assert said in rows[1].reason


def test_no_process_stays_behind_a_time_limit():
    start = time.monotonic()
    with pytest.raises(LostError, match="no answer within"):
        run_apart(time.sleep, 600, seconds=0.5)
    assert time.monotonic() - start < 60


def test_the_result_of_work_apart_comes_back():
    assert run_apart(os.path.join, "a", "b", seconds=60) == "a/b"


def test_an_encoder_is_timed_as_the_run_would_use_it(monkeypatch):
    monkeypatch.setattr("wsi.preflight.speed.SECONDS", 0.2)
    settings = {"size": 64, "batch_size": "auto", "precision": "auto", "device": "cpu"}
    row = time_encoder(name="mine", architecture="resnet50", cores=3, **settings)
    assert (row.encoder, row.width, row.device, row.cores) == ("mine", 1024, "cpu", 3)
    assert 0.1 < row.patches_per_s < 1000
