import cv2
import numpy as np
import pytest
from PIL import Image

from wsi.pen import find_pen, local_deviation
from wsi.reader import Slide
from wsi.scale import find_mpp
from wsi.segment import segment

PARAMETERS = {"close_um": 30.0, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}
GLASS = np.array((242, 240, 243), float)
EOSIN = np.array([0.08, 0.26, 0.14])  # optical densities
LYMPHOID = np.array([0.40, 0.42, 0.18])
INKS = {
    "blue": (40, 90, 200),
    "dark blue": (25, 35, 95),
    "navy": (30, 30, 75),
    "green": (30, 140, 60),
    "black": (26, 27, 29),
    "grey": (55, 55, 60),
    "red": (210, 30, 45),
}


def coded(rgb, seed=0):
    rng = np.random.default_rng(seed)
    rgb = np.clip(np.rint(rgb + rng.normal(0, 1.5, rgb.shape)), 0, 255).astype(np.uint8)
    picture = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return cv2.imdecode(picture, cv2.IMREAD_COLOR)


def tissue(height, width, density, rough=0.3, seed=1):
    rng = np.random.default_rng(seed)
    amount = rng.normal(1, rough, (height // 2, width // 2)).astype(np.float32)
    amount = cv2.resize(amount, (width, height)).clip(0.3)
    return GLASS * 10 ** (-amount[..., None] * density)


def half_tissue(density=EOSIN):
    """Glass on the left, tissue on the right."""
    rgb = np.broadcast_to(GLASS, (400, 600, 3)).copy()
    rgb[100:300, 300:550] = tissue(200, 250, density)
    return rgb


def stroke(rgb, ink, width, *points):
    """Ink lets the light of what lies below it pass in part; returns the picture and where."""
    mask = np.zeros(rgb.shape[:2], np.uint8)
    cv2.polylines(mask, [np.array(points, np.int32)], False, 255, width, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1)[..., None]
    return rgb * (1 - soft) + rgb * (np.array(ink) / 243) * soft, mask > 127


@pytest.mark.parametrize("width", [8, 25])
@pytest.mark.parametrize("ink", INKS)
def test_a_stroke_across_glass_and_tissue_is_ink(ink, width):
    rgb, drawn = stroke(half_tissue(), INKS[ink], width, (30, 350), (250, 150), (500, 220))
    picture = coded(rgb)
    pen = find_pen(picture, 8.0)
    beside = cv2.dilate(drawn.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    on_glass = drawn & (np.arange(600) < 295)
    assert pen[on_glass].mean() > 0.8
    assert pen[drawn].mean() > 0.75
    assert not pen[~beside].any()
    found = segment(picture, 8.0, **PARAMETERS).tissue
    assert found[drawn].mean() < 0.02
    assert not found[:, :280].any()  # no rim of the stroke on glass
    kept = np.zeros_like(drawn)
    kept[105:295, 305:545] = True
    assert found[kept & ~beside].mean() > 0.98


@pytest.mark.parametrize("ink", ["blue", "dark blue", "green", "black"])
def test_a_thin_stroke_along_the_border_is_no_tissue(ink):
    rgb, drawn = stroke(half_tissue(), INKS[ink], 4, (296, 60), (296, 340))
    found = segment(coded(rgb), 8.0, **PARAMETERS).tissue
    assert found[drawn].mean() < 0.05
    assert not found[:, :293].any()


def test_a_dry_pale_tail_belongs_to_its_stroke():
    rgb, _ = stroke(half_tissue(), INKS["blue"], 20, (40, 60), (150, 60))
    rgb, tail = stroke(rgb, (185, 200, 235), 16, (150, 60), (185, 60))
    assert find_pen(coded(rgb), 8.0)[tail].mean() > 0.9
    alone, tail = stroke(half_tissue(), (185, 200, 235), 16, (40, 60), (200, 60))
    assert not find_pen(coded(alone), 8.0).any()


@pytest.mark.parametrize("ink", ["blue", "green"])
def test_a_stroke_may_fade_over_any_length(ink):
    rgb, ends = half_tissue(), np.linspace(1, 0.15, 60)
    faded = np.zeros(rgb.shape[:2], bool)
    for x, strength in zip(range(20, 260, 4), ends, strict=True):  # 2 mm
        colour = 243 - strength * (243 - np.array(INKS[ink]))
        rgb[40:60, x : x + 4] = colour
        faded[40:60, x : x + 4] = True
    picture = coded(rgb)
    assert find_pen(picture, 8.0)[faded].mean() > 0.9
    assert not segment(picture, 8.0, **PARAMETERS).tissue[:90, :280].any()


def test_a_fine_coloured_stroke_is_ink_where_a_black_one_might_be_pigment():
    for ink, found in (("blue", True), ("green", True), ("black", False)):
        rgb, _ = stroke(half_tissue(), INKS[ink], 3, (40, 60), (64, 60))  # 0.2 x 0.04 mm
        assert find_pen(coded(rgb), 8.0).any() == found, ink


def test_a_speck_is_no_stroke():
    rgb, _ = stroke(half_tissue(), INKS["black"], 8, (40, 60), (50, 60))
    assert not find_pen(coded(rgb), 8.0).any()
    assert find_pen(coded(rgb), 32.0).any()  # the same picture of a larger thing


@pytest.mark.parametrize(
    "density",
    [
        LYMPHOID,
        LYMPHOID * 1.5 + EOSIN * 0.6,  # overstained
        EOSIN * 2.2,
        np.array([0.08, 0.62, 0.45]),  # blood
        np.array([0.06, 0.60, 0.56]),
        np.array([0.05, 0.80, 0.45]),
        np.array([0.75, 0.95, 0.50]),
        np.array([0.27, 0.57, 0.78]) * 0.8,  # DAB, brown
        np.array([0.35, 0.70, 0.55]),  # a fold
    ],
    ids=["lymphoid", "overstained", "eosin", "blood", "orange", "crimson", "dark", "DAB", "fold"],
)
@pytest.mark.parametrize("rough", [0.05, 0.3, 0.6])
def test_stained_tissue_is_no_ink(density, rough):
    rgb = half_tissue()
    rgb[100:300, 300:550] = tissue(200, 250, density, rough)
    picture = coded(rgb)
    assert not find_pen(picture, 8.0).any()
    assert segment(picture, 8.0, **PARAMETERS).tissue[105:295, 305:545].all()


def test_black_padding_is_no_ink():
    rgb = coded(half_tissue())
    rgb[:, 560:] = 0
    assert not find_pen(rgb, 8.0).any()


def test_local_deviation_is_that_of_the_square():
    grey = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    assert local_deviation(grey, 4.0)[10, 12] == pytest.approx(grey[8:13, 10:15].std(), rel=1e-3)


@pytest.mark.realdata
def test_ink_drawn_on_a_real_biopsy_is_left_out(real_slides):
    rgb = np.asarray(Image.open(real_slides / "hp_slide_with_ink.jpeg").convert("RGB"))
    rgb = cv2.resize(rgb[:, :2800], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    plain = segment(rgb, 8.0, **PARAMETERS)
    assert not plain.pen.any()
    for ink in INKS:
        path = (20, 200), (200, 60), (420, 170), (680, 20)
        inked, drawn = stroke(rgb.astype(float), INKS[ink], 10, *path)
        found = segment(coded(inked), 8.0, **PARAMETERS)
        beside = cv2.dilate(drawn.astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
        assert found.tissue[drawn].mean() < 0.02, ink
        assert found.tissue[beside & ~plain.tissue].mean() < 0.02, ink
        assert found.tissue[plain.tissue & ~beside].mean() > 0.97, ink


@pytest.mark.realdata
def test_no_real_section_without_ink_has_any(real_slides):
    paths = sorted((real_slides / "monuseg_padded").glob("*.tiff"))
    assert len(paths) == 24
    for path in [*paths, real_slides / "native" / "CMU-1-Small-Region.svs"]:
        with Slide(path) as slide:
            for mpp in (2.0, 8.0):
                rgb = slide.overview(mpp / find_mpp(slide)[0])
                assert not find_pen(rgb, mpp).any(), path.name
