import cv2
import numpy as np
import pytest
from PIL import Image

from wsi.reader import Slide
from wsi.scale import find_mpp
from wsi.segment import optical_density, segment, white_point

PARAMETERS = {"close_um": 30.0, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}
GLASS = (242, 240, 243)
PINK = np.array([0.08, 0.26, 0.14])  # optical density of eosin-rich tissue
FIRST = "colour or optical density"


def noisy(rgb, sd=1.5, quality=85, seed=0):
    """What a scanner and JPEG make of a picture."""
    rng = np.random.default_rng(seed)
    rgb = np.clip(np.rint(rgb + rng.normal(0, sd, rgb.shape)), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def texture(height, width, seed=1):
    """Nuclei, fibres and gaps at 8 um/px: density around 1, never near 0."""
    rng = np.random.default_rng(seed)
    fine = rng.normal(0, 1, (height // 2 + 1, width // 2 + 1)).astype(np.float32)
    coarse = rng.normal(0, 1, (height // 12 + 2, width // 12 + 2)).astype(np.float32)
    fine, coarse = (
        cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in (fine, coarse)
    )
    return np.clip(1 + 0.25 * fine + 0.15 * coarse, 0.4, 2)


def ellipse(height, width, radius):
    y, x = np.ogrid[:height, :width]
    return ((x - width / 2) / 1.3) ** 2 + (y - height / 2) ** 2 < radius**2


def on_glass(shape, density, glass=GLASS):
    """Tissue of an optical density on glass, ``[H, W, 3]`` float."""
    amount = shape * texture(*shape.shape)
    return np.array(glass, float) * 10 ** (-amount[..., None] * density)


def overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def test_plain_tissue_needs_no_other_limits_and_no_look():
    truth = ellipse(400, 500, 120)
    found = segment(noisy(on_glass(truth, PINK)), 8.0, **PARAMETERS)
    assert overlap(found.tissue, truth) > 0.97
    assert (found.method, found.check) == (FIRST, "")
    assert not found.pen.any()


@pytest.mark.parametrize("density", [0.06, 0.075])
@pytest.mark.parametrize("radius", [90, 200])
def test_faint_tissue_is_rescued_and_flagged(density, radius):
    truth = ellipse(600, 700, radius)
    faint = on_glass(truth, np.array([0.3, 0.4, 0.3]) * density)
    found = segment(noisy(faint), 8.0, **PARAMETERS)
    assert overlap(found.tissue, truth) > 0.9
    assert found.method.startswith("Otsu's limit on")
    assert found.check.startswith(f"only {found.method} found tissue (")
    assert found.check.endswith("look at the outline.")


def test_fatty_tissue_on_unevenly_lit_glass_is_found_by_its_roughness():
    truth = ellipse(600, 700, 200)
    rng = np.random.default_rng(3)
    walls = cv2.resize(rng.exponential(1, (200, 233)), (700, 600)) * truth
    glass = np.array(GLASS, float) - 14 + np.linspace(-14, 14, 700)[:, None]
    rgb = glass * 10 ** (-0.016 * walls[..., None] * np.ones(3))
    found = segment(noisy(rgb, sd=0.5, quality=95), 8.0, **PARAMETERS)
    assert found.method == "Otsu's limit on local entropy"
    assert overlap(found.tissue, truth) > 0.85
    assert found.check


@pytest.mark.parametrize("shade", [0, 4, 10])
@pytest.mark.parametrize("sd", [0.0, 1.0, 3.0])
def test_bare_glass_is_no_tissue_and_needs_no_look(sd, shade):
    glass = np.full((500, 700, 3), GLASS, float) + np.linspace(-shade, shade, 700)[:, None]
    found = segment(noisy(glass, sd), 8.0, **PARAMETERS)
    assert not found.tissue.any()
    assert (found.method, found.check) == (FIRST, "")


def test_dust_and_filling_of_unscanned_area_are_no_tissue():
    glass = np.full((500, 700, 3), GLASS, float)
    rng = np.random.default_rng(4)
    for x, y, size in rng.integers((10, 10, 1), (690, 490, 7), (40, 3)).tolist():
        cv2.circle(glass, (x, y), size, (90, 90, 95), -1)
    assert not segment(noisy(glass), 8.0, **PARAMETERS).tissue.any()
    filled = np.full((500, 700, 3), 255, np.uint8)
    filled[150:350, 150:400] = noisy(np.full((200, 250, 3), GLASS, float), 1.0)
    found = segment(filled, 8.0, **PARAMETERS)
    assert not found.tissue.any()
    assert found.check == ""


def test_a_core_wholly_of_tissue_stays_whole_and_asks_for_a_look():
    found = segment(noisy(on_glass(np.ones((200, 200), bool), PINK)), 8.0, **PARAMETERS)
    assert found.tissue.all()
    assert found.method == FIRST
    assert found.check.startswith("100% of the scanned area is tissue")


def test_two_kinds_of_tissue_are_not_split_into_tissue_and_glass():
    dense = ellipse(300, 300, 80)
    rgb = on_glass(np.ones((300, 300), bool), PINK)
    rgb[dense] *= 10 ** -np.array([0.25, 0.2, 0.05])  # a cell-rich half
    found = segment(noisy(rgb), 8.0, **PARAMETERS)
    assert found.tissue.all()
    assert found.method == FIRST


@pytest.mark.parametrize("glass", [(178, 176, 179), (235, 228, 205), (190, 180, 160)])
def test_dark_or_coloured_glass_is_told_from_tissue_and_flagged(glass):
    truth = ellipse(400, 500, 120)
    found = segment(noisy(on_glass(truth, PINK, glass)), 8.0, **PARAMETERS)
    assert overlap(found.tissue, truth) > 0.95
    assert found.check.startswith("the glass is coloured or dark")


def test_a_tiny_piece_on_a_large_slide_is_kept_and_flagged():
    truth = np.zeros((1000, 1200), bool)
    truth[500:530, 600:635] = True  # 0.067 mm2 of 77 mm2
    found = segment(noisy(on_glass(truth, PINK)), 8.0, **PARAMETERS)
    assert found.tissue.sum() == pytest.approx(truth.sum(), rel=0.15)
    assert found.check.startswith("only 0.0")
    assert "missed" in found.check


def test_bright_on_black_is_flagged():
    rgb = np.zeros((400, 500, 3))
    rgb[..., 0] = 20 + 40 * ellipse(400, 500, 120)
    found = segment(noisy(rgb), 8.0, **PARAMETERS)
    assert found.check.startswith("the slide is dark")
    assert not found.pen.any()


def test_a_tint_of_the_glass_is_no_tissue():
    glass = np.full((500, 700, 3), 242, float)
    glass[:, 300:] = (244, 242, 238)
    assert not segment(noisy(glass, 1.0, 95), 8.0, **PARAMETERS).tissue.any()


def test_glass_beside_black_padding_is_no_tissue():
    rgb = noisy(np.full((500, 700, 3), GLASS, float), 1.0)
    rgb[:, 450:] = 0
    rgb[:100] = 0
    found = segment(rgb, 8.0, **PARAMETERS)
    assert not found.tissue.any()
    assert found.check == ""


def test_small_holes_are_filled_and_large_ones_kept():
    truth = ellipse(400, 500, 150)
    truth[150:164, 150:164] = False  # 0.0125 mm2
    truth[200:225, 250:275] = False  # 0.04 mm2
    found = segment(noisy(on_glass(truth, PINK)), 8.0, **PARAMETERS).tissue
    assert found[150:164, 150:164].all()
    assert not found[205:220, 255:270].any()


def test_pen_neither_hides_pale_tissue_nor_is_closed_over():
    truth = ellipse(400, 500, 100)
    rgb = on_glass(truth, np.array([0.0, 0.035, 0.012]))  # saturation about 20
    fading = np.linspace(1, 0.2, 460)[:, None]
    rgb[20:60, 20:480] = np.array((40, 90, 200)) * fading + np.array(GLASS) * (1 - fading)
    found = segment(noisy(rgb), 8.0, **PARAMETERS)
    assert found.tissue[truth].mean() > 0.95
    assert found.method == FIRST
    rgb = on_glass(truth, PINK)
    rgb[:, 245:253] = (40, 90, 200)
    found = segment(noisy(rgb), 8.0, **(PARAMETERS | {"close_um": 150.0}))
    assert not found.tissue[120:280, 246:252].any()


@pytest.mark.parametrize("faint", [False, True])
def test_black_padding_is_never_tissue(faint):
    truth = ellipse(400, 500, 120)
    rgb = noisy(on_glass(truth, PINK * (0.2 if faint else 1)))
    rgb[:, 400:] = 0
    rgb[:60] = 0
    found = segment(rgb, 8.0, **PARAMETERS)
    assert not found.tissue[:, 400:].any()
    assert not found.tissue[:60].any()
    truth[:60] = truth[:, 400:] = False
    assert overlap(found.tissue, truth) > 0.93


def test_only_the_scanned_area_counts():
    inside = np.zeros((600, 800), bool)
    inside[200:350, 300:500] = True
    rgb = np.full((600, 800, 3), 255, np.uint8)
    rgb[:100] = (200, 120, 170)  # nothing was scanned there
    faint = on_glass(ellipse(150, 200, 40), np.array([0.3, 0.4, 0.3]) * 0.09)
    rgb[inside] = noisy(faint).reshape(-1, 3)
    found = segment(rgb, 8.0, inside=inside, **PARAMETERS)
    assert not found.tissue[~inside].any()
    assert overlap(found.tissue[200:350, 300:500], ellipse(150, 200, 40)) > 0.85
    none = segment(rgb, 8.0, inside=np.zeros_like(inside), **PARAMETERS)
    assert not none.tissue.any()


def test_a_stain_taken_for_ink_is_flagged():
    blue = on_glass(ellipse(400, 500, 120), np.array([0.5, 0.3, 0.08]))
    found = segment(noisy(blue), 8.0, **PARAMETERS)
    assert found.pen.sum() > found.tissue.sum()
    assert found.check.startswith("more pen ink than tissue")


def test_the_white_point_is_the_commonest_bright_colour():
    colours = np.array([GLASS] * 50 + [(255, 255, 255)] * 20 + [(190, 100, 150)] * 200, np.uint8)
    np.testing.assert_array_equal(white_point(colours), GLASS)
    np.testing.assert_array_equal(white_point(colours[-200:]), (255, 255, 255))
    np.testing.assert_array_equal(white_point(colours[:0]), (255, 255, 255))


def test_pure_white_that_fills_what_was_not_scanned_is_no_glass():
    rng = np.random.default_rng(0)
    white, glass = np.full((900, 3), 255), np.array(GLASS) + rng.integers(-3, 3, (300, 1))
    np.testing.assert_allclose(white_point(np.uint8(np.vstack([white, glass]))), GLASS, atol=3)
    few = np.uint8(np.vstack([white, glass[:50]]))  # a rim about saturated glass
    np.testing.assert_array_equal(white_point(few), (255, 255, 255))
    pale = rng.integers(210, 255, (300, 1)) - np.array([0, 8, 2])  # tissue on saturated glass
    np.testing.assert_array_equal(white_point(np.uint8(np.vstack([white, pale]))), (255, 255, 255))


def test_optical_density_is_summed_over_channels():
    rgb = np.array([[[99, 99, 99], [255, 255, 255]]], np.uint8)
    density = optical_density(rgb, np.full(3, 255, np.float32))
    np.testing.assert_allclose(density, [[3 * np.log10(2.56), 0]], atol=1e-5)


@pytest.mark.realdata
def test_a_dimmed_scan_of_a_real_biopsy_has_the_same_outline(real_slides):
    rgb = np.asarray(Image.open(real_slides / "hp_slide_with_ink.jpeg").convert("RGB"))
    rgb = cv2.resize(rgb, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    plain = segment(rgb, 8.0, **PARAMETERS)  # a core of 1 mm: about 2 um/px in the file
    assert (plain.method, plain.check) == (FIRST, "")
    dimmed = segment((rgb * 0.72).astype(np.uint8), 8.0, **PARAMETERS)
    assert dimmed.method == "Otsu's limit on saturation"
    assert overlap(dimmed.tissue, plain.tissue) > 0.95


@pytest.mark.realdata
def test_real_tissue_without_glass_is_never_split(real_slides):
    for path in sorted((real_slides / "monuseg_padded").glob("*.tiff")):
        with Slide(path) as slide:
            rgb = slide.overview(2.0 / find_mpp(slide)[0])
        core = np.ascontiguousarray(rgb[68:188, 68:188])  # without the invented glass
        found = segment(core, 8.0, **PARAMETERS)
        assert found.method == FIRST, path.name
        assert found.tissue.mean() > 0.9, path.name
        assert not found.pen.any(), path.name


@pytest.mark.realdata
def test_the_glass_of_a_real_scan_is_not_the_white_that_fills_it(real_slides):
    with Slide(real_slides / "native" / "TCGA-CR-7395-01A-01-TS1.svs") as slide:
        rgb = slide.overview(8.0)
    assert (rgb == 255).all(axis=2).mean() > 0.15
    np.testing.assert_allclose(white_point(rgb.reshape(-1, 3)), (241, 236, 239), atol=4)


@pytest.mark.realdata
def test_real_fluorescence_is_flagged(real_slides):
    with Slide(real_slides / "native" / "test3-TRITC-2-560.ndpi") as slide:
        rgb = slide.overview(8.0 / find_mpp(slide)[0])
    assert segment(rgb, 8.0, **PARAMETERS).check.startswith("the slide is dark")
