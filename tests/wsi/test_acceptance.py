"""Acceptance of slides and patches (specification wsi 9): items 1, 5, 7 and 8 through the stages.

Pixels of each format are compared in test_tiff_formats.py, damaged files in test_damaged_files.py,
scanned areas that do not begin at (0, 0) in test_given_tissue.py, sources of the scale in
test_scale.py; here a slide of each kind is made and goes from the file to its patches.
"""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from tests.wsi.stage_runs import BY_MPP, run_in_worker, run_stages, settings_of
from tests.wsi.tiff_writing import abbreviated, jpeg, write_tiff
from wsi.patches import make_patches
from wsi.storage import read_h5
from wsi.tissue import find_tissue

GLASS, TISSUE = (242, 240, 243), (190, 110, 170)
BOX = (1024, 1024, 3072, 2048)  # of tissue: two coarse patches of 1024 px at 0.25 um/px
TWO = [[1024, 1024], [2048, 1024]]
SIZES = {"whole": [(1024, 768), (256, 192)], "halves": [(2048, 1536), (1024, 768)]}


def picture(width=4096, height=3072, box=BOX):
    rgb = np.full((height, width, 3), GLASS, np.uint8)
    left, top, right, bottom = box
    rgb[top:bottom, left:right] = TISSUE
    return rgb


def levels(rgb, sizes):
    return [rgb, *(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) for size in sizes)]


def ycbcr(path, rgb, sizes=SIZES["whole"]):
    """Write what scanners write: JPEG, YCbCr, 4:2:0."""
    return write_tiff(path, levels(rgb, sizes), jpeg(), photometric="ycbcr")


def rgb_jpeg(path, rgb):
    return write_tiff(path, levels(rgb, SIZES["whole"]), jpeg("RGB", (1, 1)))


def jpeg_tables(path, rgb):
    encode, tables = abbreviated(jpeg())
    return write_tiff(path, levels(rgb, SIZES["whole"]), encode, photometric="ycbcr",
                      jpegtables=tables)  # fmt: skip


def deflate(path, rgb):
    return write_tiff(path, levels(rgb, SIZES["whole"]), compression="deflate", predictor=2)


def at_half_um(path, rgb):
    """Write 1/4/8 at 0.5 um/px, where "level 2" is 8x."""
    return _scaled(path, levels(rgb, [(1024, 768), (512, 384)]), 20_000, "CENTIMETER")


def without_mpp(path, rgb):
    return _scaled(path, levels(rgb, SIZES["whole"]), None, None)


def at_72_dpi(path, rgb):
    return _scaled(path, levels(rgb, SIZES["whole"]), 72, "INCH")


def _scaled(path, images, per_unit, unit):
    with tifffile.TiffWriter(path) as file:
        for number, image in enumerate(images):
            scale = {}
            if unit:
                per = per_unit * image.shape[1] / images[0].shape[1]
                scale = {"resolution": (per, per), "resolutionunit": unit}
            file.write(
                image, tile=(256, 256), photometric="rgb", compression="deflate", metadata=None,
                subfiletype=int(number > 0), software="", **scale,
            )  # fmt: skip
    return path


def ome(path, rgb):
    """Write OME-TIFF: reduced levels below the first directory, the scale in its XML in nm."""
    whole, *reduced = levels(rgb, SIZES["whole"])
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate"}
    metadata = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 250.0, "PhysicalSizeYUnit": "nm"}  # fmt: skip
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(whole, subifds=len(reduced), metadata=metadata, **options)
        for image in reduced:
            file.write(image, subfiletype=1, metadata=None, **options)
    return path


def damaged_tile(path, rgb):
    """Overwrite one storage tile of level 1: 256 x 256 there, the coarse patch at (1024, 1024)."""
    ycbcr(path, rgb)
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]
        offset, count = page.dataoffsets[4 + 1], page.databytecounts[4 + 1]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\x55" * count)
    return path


def truncated(path, rgb):
    ycbcr(path, rgb)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return path


def empty(path, rgb):
    path.write_bytes(b"")
    return path


@dataclass(frozen=True)
class Case:
    """A slide, and what must become of it."""

    write: Callable[[Path, np.ndarray], Path]
    rgb: Callable[[], np.ndarray] = picture
    name: str = "slide.tiff"
    kind: str = ""
    corners: list = field(default_factory=lambda: TWO)
    side: int = 1024  # of a coarse patch in level-0 pixels
    mpp: float = 0.25
    source: str = "openslide.mpp"
    square_px: int = 2048 * 1024  # of tissue
    level: int = 1  # that fine patches are read from
    said: str = ""


def grid(width, height, side):
    return [[x, y] for x in range(0, width, side) for y in range(0, height, side)]


CASES = {
    "1/4/16": Case(ycbcr),
    "1/2/4": Case(lambda path, rgb: ycbcr(path, rgb, SIZES["halves"]), level=2),
    # 0.5 um/px: fine patches are 64 px of 1 um, so 128, and coarse ones 512 level-0 pixels
    "1/4/8 at 0.5 um": Case(
        at_half_um,
        corners=[[x, y] for x in range(1024, 3072, 512) for y in range(1024, 2048, 512)],
        side=512, mpp=0.5, level=0,
    ),
    "single level": Case(lambda path, rgb: ycbcr(path, rgb, []), level=0),
    # 3.999 and 3.9987: 64 px of level 1 are 255.9 level-0 pixels, and never 192
    "odd sizes": Case(ycbcr, lambda: picture(4095, 3071)),
    "RGB JPEG": Case(rgb_jpeg),
    "JPEGTables": Case(jpeg_tables),
    "deflate": Case(deflate),
    "OME SubIFD": Case(ome, name="slide.ome.tiff", source="OME PhysicalSizeX"),
    "damaged tile": Case(damaged_tile),
    "truncated": Case(truncated, kind="unreadable", said="cut off while it was copied"),
    "empty": Case(empty, kind="unreadable", said="is empty (0 bytes)"),
    "blank": Case(ycbcr, lambda: np.full((3072, 4096, 3), 255, np.uint8), kind="no_tissue",
                  said="no tissue. Nothing on it is larger than 0.05 mm2"),
    "all tissue": Case(ycbcr, lambda: picture(box=(0, 0, 4096, 3072)),
                       corners=grid(4096, 3072, 1024), square_px=4096 * 3072),
    "all tissue, odd sizes": Case(
        ycbcr, lambda: picture(4095, 3071, (0, 0, 4095, 3071)), corners=grid(4095, 3071, 1024),
        square_px=4095 * 3071,
    ),
    "one pixel of tissue": Case(deflate, lambda: picture(box=(2000, 1500, 2001, 1501)),
                                kind="no_tissue", said="no tissue"),
    "name with dots": Case(ycbcr, name="TCGA-CR-7395-01A-01-TS1.F9BC-11.4.svs"),
    "no mpp": Case(without_mpp, kind="no_scale", said="add a column mpp"),
    "72 dpi": Case(at_72_dpi, kind="no_scale", said="implausible: openslide.mpp 352.778"),
}  # fmt: skip


@pytest.fixture(scope="module")
def slide_of(tmp_path_factory):
    """Return a function that makes the slide of a case, once."""
    folder = tmp_path_factory.mktemp("slides")

    def slide_of(name):
        case = CASES[name]
        path = folder / name.replace("/", "-") / case.name
        if not path.exists():
            path.parent.mkdir()
            case.write(path, case.rgb())
        return path

    return slide_of


def assert_children_tile(results, side):
    """Each block of 16 rows is its parent, cut into 4 x 4: y outer, x inner."""
    (coarse, _), (fine, attributes) = results.level(2), results.level(1)
    assert attributes["footprint0"] * 4 == side
    quarter = side // 4
    steps = np.array([[i * quarter, j * quarter] for j in range(4) for i in range(4)])
    expected = (coarse["coords"][:, None] + steps).reshape(-1, 2)
    np.testing.assert_array_equal(fine["coords"], expected)


@pytest.mark.parametrize("name", CASES)
def test_from_the_file_to_its_patches(name, slide_of, tmp_path):
    case = CASES[name]
    results = run_stages(slide_of(name), tmp_path, case.name.removesuffix(".tiff"))
    assert results.laid.kind == case.kind
    if case.kind:
        assert results.laid == results.found  # decided once, passed on
        assert case.said in results.found.reason
        assert results.content["features"] == []
        assert len(results.coords) == len(results.level(1)[0]["coords"]) == 0
        return
    coarse, attributes = results.level(2)
    assert coarse["coords"].tolist() == case.corners
    assert attributes["footprint0"] == case.side
    assert_children_tile(results, case.side)
    assert results.level(1)[1]["patch_level"] == case.level
    facts = results.facts
    assert (facts["mpp_source"], attributes["mpp_source"]) == (case.source, case.source)
    assert facts["mpp0"] == pytest.approx(case.mpp)
    expected = case.square_px * (case.mpp / 1000) ** 2
    # outlines run a quarter of an 8-um pixel inside, and mixed pixels at borders may count
    assert facts["tissue_mm2"] == pytest.approx(expected, rel=0.06)
    inside = np.array(case.corners) + case.side <= (facts["width0"], facts["height0"])
    assert (coarse["tissue_fraction"][inside.all(axis=1)] > 0.93).all()


def test_of_the_damaged_slide_one_patch_is_marked(slide_of, tmp_path):
    results = run_stages(slide_of("damaged tile"), tmp_path)
    coarse, attributes = results.level(2)
    assert coarse["unreadable"].tolist() == [1, 0]
    assert attributes["damaged_tiles"] == 1


def test_patches_over_the_edge_have_all_their_children(slide_of, tmp_path):
    results = run_stages(slide_of("all tissue, odd sizes"), tmp_path)
    (coarse, _), (fine, _) = results.level(2), results.level(1)
    assert len(fine["coords"]) == 16 * 12
    np.testing.assert_allclose(coarse["tissue_fraction"], 1, atol=0.04)


def test_a_slide_without_mpp_goes_on_by_downsample_or_with_the_tables(slide_of, tmp_path):
    by_downsample = {"by": "downsample", "coarse": 16, "fine": 4}
    for name in ("no mpp", "72 dpi"):
        results = run_stages(slide_of(name), tmp_path, scale=by_downsample)
        assert results.coords.tolist() == TWO
        assert results.facts["mpp_source"] == "assumed for tissue only"
        results = run_stages(slide_of(name), tmp_path, mpp=0.25)
        assert results.coords.tolist() == TWO
        assert (results.facts["mpp_source"], results.facts["mpp0"]) == ("slides.csv", 0.25)


def test_the_same_picture_has_the_same_patches_however_it_is_stored(slide_of, tmp_path):
    fractions = {}
    for name in ("1/4/16", "1/2/4", "single level", "RGB JPEG", "deflate", "OME SubIFD"):
        results = run_stages(slide_of(name), tmp_path / name.replace("/", "-"))
        fractions[name] = results.level(1)[0]["tissue_fraction"]
    for name, found in fractions.items():
        np.testing.assert_allclose(found, fractions["deflate"], atol=0.04, err_msg=name)


def test_one_two_and_four_workers_write_the_same_bytes(slide_of, tmp_path):
    names = [name for name in CASES if name != "empty"][:14]
    written = {}
    for workers in (1, 2, 4):
        folder = tmp_path / str(workers)
        jobs = [
            settings_of(slide_of(name), folder, f"slide{number}")
            for number, name in enumerate(names)
        ]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            outcomes = list(pool.map(run_in_worker, jobs))
        written[workers] = (
            outcomes,
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            },
        )
    assert len(written[1][1]) == 5 * len(names)
    assert sum(laid.ok for _, laid in written[1][0]) == 12
    assert written[1] == written[2] == written[4]


def test_no_file_is_opened_for_a_patch(slide_of, tmp_path, monkeypatch):
    """Two patches and 48 of them take the same number of opens."""
    path = slide_of("all tissue")
    opened = []
    real_open, real_builtin, real_slide = os.open, open, openslide.OpenSlide.__init__

    def watched(name, *arguments, **options):
        opened.append(name)
        return real_open(name, *arguments, **options)

    def watched_builtin(name, *arguments, **options):
        opened.append(name)
        return real_builtin(name, *arguments, **options)

    def watched_slide(self, name):
        opened.append(name)
        real_slide(self, name)

    counts = []
    for number, size in ((12, 64), (48, 32), (192, 16)):
        find, lay = settings_of(path, tmp_path, size=size, scale=BY_MPP)
        assert find_tissue(**find).ok
        with monkeypatch.context() as patch:
            patch.setattr("os.open", watched)
            patch.setattr("builtins.open", watched_builtin)
            patch.setattr(openslide.OpenSlide, "__init__", watched_slide)
            opened.clear()
            assert make_patches(**lay).ok
            counts.append(sum(str(path) == str(name) for name in opened))
        assert len(read_h5(lay["level2"])[0]["coords"]) == number
    assert counts[0] == counts[1] == counts[2] > 0
