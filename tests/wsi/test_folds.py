import cv2
import numpy as np
import pytest
from PIL import Image

from wsi.folds import find_folds
from wsi.reader import Slide
from wsi.segment import segment

GLASS = np.array((242, 240, 243), np.float32)
STROMA = np.array([0.10, 0.28, 0.15])  # optical densities
NEST = np.array([0.34, 0.42, 0.18])


def picture(extra=None, nest=None, seed=0):
    """Tissue of 400 x 500 px in glass; `extra` layers lie on it, `nest` has another stain."""
    rng = np.random.default_rng(seed)
    amount = cv2.resize(rng.normal(1, 0.25, (250, 300)).astype(np.float32), (600, 500)).clip(0.3)
    tissue = np.zeros((500, 600), bool)
    tissue[51:451, 51:551] = True
    density = np.where(nest[..., None], NEST, STROMA) if nest is not None else STROMA
    layers = tissue * (1.0 + (0 if extra is None else extra))
    rgb = GLASS * 10 ** (-(amount * layers)[..., None] * density)
    return np.clip(np.rint(rgb + rng.normal(0, 1.5, rgb.shape)), 0, 255).astype(np.uint8), tissue


def strip(points, width):
    mask = np.zeros((500, 600), np.uint8)
    cv2.polylines(mask, [np.array(points, np.int32)], False, 1, width)
    return mask.astype(bool)


@pytest.mark.parametrize("width", [10, 24])  # 80 and 190 um
@pytest.mark.parametrize(
    "points",
    [[(120, 120), (450, 380)], [(100, 300), (250, 200), (420, 240)], [(300, 40), (300, 460)]],
    ids=["diagonal", "curved", "across"],
)
def test_doubled_tissue_in_a_strip_is_a_fold(points, width):
    fold = strip(points, width)
    rgb, tissue = picture(fold)
    found = find_folds(rgb, tissue, 8.0, GLASS)
    assert found[fold & tissue].mean() > 0.7
    beside = cv2.dilate(fold.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert not found[~beside].any()
    assert not found[~tissue].any()


def test_a_fold_along_the_border_is_found():
    fold = strip([(62, 80), (62, 420)], 20)
    rgb, tissue = picture(fold)
    found = find_folds(rgb, tissue, 8.0, GLASS)
    assert found[fold].mean() > 0.6
    assert not found[:, 90:].any()
    assert not found[~tissue].any()


def test_a_fold_in_a_cell_rich_area_is_found_and_the_area_is_none():
    nest = np.zeros((500, 600), bool)
    nest[100:400, 150:450] = True
    fold = strip([(200, 150), (400, 350)], 14)
    rgb, tissue = picture(fold, nest)
    found = find_folds(rgb, tissue, 8.0, GLASS)
    assert found[fold].mean() > 0.6
    beside = cv2.dilate(fold.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert not found[~beside].any()


def test_plain_tissue_has_no_fold():
    rgb, tissue = picture()
    assert not find_folds(rgb, tissue, 8.0, GLASS).any()


@pytest.mark.parametrize("points", [[(120, 120), (450, 380)], [(57, 80), (57, 420)]])
def test_a_strip_of_cells_is_no_fold(points):
    """Denser, but of another stain mixture."""
    cells = strip(points, 20)
    for more in (0.0, 0.4):  # with the colour of two layers, too
        rgb, tissue = picture(more * cells, cells)
        assert not find_folds(rgb, tissue, 8.0, GLASS).any()


def test_broad_and_short_dark_areas_are_no_folds():
    broad = np.zeros((500, 600), bool)
    broad[150:350, 200:400] = True
    assert not find_folds(*picture(broad), 8.0, GLASS).any()
    assert not find_folds(*picture(strip([(300, 250), (315, 250)], 12)), 8.0, GLASS).any()
    stout = np.zeros((500, 600), bool)
    stout[200:226, 250:296] = True  # 0.21 x 0.37 mm
    assert not find_folds(*picture(stout), 8.0, GLASS).any()


def test_size_is_physical():
    rgb, tissue = picture(strip([(120, 120), (450, 380)], 24))
    assert find_folds(rgb, tissue, 8.0, GLASS).any()
    assert not find_folds(rgb, tissue, 24.0, GLASS).any()  # the strip would be 0.6 mm wide
    large = cv2.resize(rgb, None, fx=2, fy=2)
    found = find_folds(large, np.repeat(np.repeat(tissue, 2, 0), 2, 1), 4.0, GLASS)
    assert found.shape == (1000, 1200)
    assert found.any()


def test_no_tissue_has_no_fold():
    rgb, tissue = picture()
    assert not find_folds(rgb, np.zeros_like(tissue), 8.0, GLASS).any()


@pytest.mark.realdata
def test_folds_at_the_border_of_a_real_section(real_slides):
    with Slide(real_slides / "native" / "TCGA-CR-7395-01A-01-TS1.svs") as slide:
        rgb = slide.overview(4.0)  # no scale in the file; about 2 um/px
    tissue = segment(rgb, 8.0, close_um=30.0, min_area_mm2=0.05, min_hole_mm2=0.02).tissue
    found = find_folds(rgb, tissue, 8.0, np.array((243, 240, 243)))
    assert 0.005 < found[tissue].mean() < 0.03
    # looked at: a dark strip down the left border and one along the lower one
    assert found[420:580, 15:60].sum() > 800
    assert found[825:870, 650:800].sum() > 800
    assert not found[150:750, 200:900].any()


@pytest.mark.realdata
@pytest.mark.parametrize("mpp", [0.5, 1.0, 2.0])
def test_crowded_epithelium_between_lumens_is_no_fold(real_slides, mpp):
    rgb = np.asarray(Image.open(real_slides / "hp_slide.jpeg").convert("RGB"))
    rgb = cv2.resize(rgb, None, fx=mpp / 8, fy=mpp / 8, interpolation=cv2.INTER_AREA)
    tissue = segment(rgb, 8.0, close_um=30.0, min_area_mm2=0.05, min_hole_mm2=0.02).tissue
    assert tissue.any()
    assert not find_folds(rgb, tissue, 8.0, np.array((244, 248, 244))).any()


@pytest.mark.realdata
def test_a_real_section_without_folds_has_none(real_slides):
    with Slide(real_slides / "native" / "CMU-1-Small-Region.svs") as slide:
        rgb = slide.overview(8.0 / 0.499)
    tissue = segment(rgb, 8.0, close_um=30.0, min_area_mm2=0.05, min_hole_mm2=0.02).tissue
    assert tissue.any()
    assert not find_folds(rgb, tissue, 8.0, np.array((243, 242, 244))).any()
