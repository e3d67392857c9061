import cv2
import numpy as np
import pytest
from PIL import Image

from wsi.measures import NAMES, blurred, measure, measure_blocks
from wsi.reader import Slide

GLASS = np.array((242, 240, 243))


def nuclei(side, seed=0, mpp=2.0):
    """Nuclei and fibres on stroma with a bit of glass, sharp at 2 um/px."""
    rng = np.random.default_rng(seed)
    scale = 4
    rgb = np.full((side * scale, side * scale, 3), (214, 150, 190), np.uint8)
    for x, y in rng.integers(0, side * scale, (side * side // 40, 2)).tolist():
        cv2.ellipse(rgb, (x, y), (8, 6), int(x % 180), 0, 360, (105, 75, 150), -1)
    for x, y in rng.integers(0, side * scale, (side * side // 100, 2)).tolist():
        cv2.line(rgb, (x, y), (x + 40, y + 12), (235, 200, 225), 3)
    rgb = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    return np.clip(rgb + rng.normal(0, 1, rgb.shape), 0, 255).astype(np.uint8)


def cut(rgb, side):
    """The patches of a picture, row by row."""
    rows, columns = rgb.shape[0] // side, rgb.shape[1] // side
    rgb = rgb[: rows * side, : columns * side]
    parts = rgb.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(parts.reshape(-1, side, side, 3))


def out_of_focus(rgb, sigma_um, mpp=2.0):
    return cv2.GaussianBlur(rgb, (0, 0), sigma_um / mpp)


def test_every_measure_is_there_for_every_patch():
    found = measure(np.stack([nuclei(64, seed) for seed in range(5)]), GLASS)
    assert tuple(found) == NAMES
    for values in found.values():
        assert values.shape == (5,)
        assert values.dtype == np.float16
    empty = measure(np.zeros((0, 64, 64, 3), np.uint8), GLASS)
    assert all(values.shape == (0,) for values in empty.values())


def test_blocks_are_patches_row_by_row():
    region = np.concatenate([nuclei(128, 1), np.full((128, 128, 3), GLASS, np.uint8)], axis=1)
    blocks = measure_blocks(cv2.resize(region, (256, 256)), 4, GLASS)
    patches = measure(cut(cv2.resize(region, (256, 256)), 64), GLASS)
    for name in ("saturation", "density", "dark"):
        np.testing.assert_array_equal(blocks[name], patches[name])
    # their gradients see across the border of a block
    np.testing.assert_allclose(blocks["tenengrad"], patches["tenengrad"], rtol=0.15, atol=30)
    np.testing.assert_allclose(blocks["focus"], patches["focus"], rtol=0.1, atol=0.02)
    glass = blocks["density"].reshape(4, 4)[:, 2:]
    assert (glass == 0).all()
    assert (blocks["density"].reshape(4, 4)[:, :2] > 0.2).all()


def test_saturation_density_and_dark_of_known_colours():
    rgb = np.zeros((32, 64, 3), np.uint8)
    rgb[:, :32] = (200, 120, 150)  # S: 255 * 80 / 200
    rgb[:16, 32:] = (60, 60, 60)
    rgb[16:, 32:] = (250, 250, 250)  # brighter than glass
    blocks = measure_blocks(rgb, 2, GLASS)
    np.testing.assert_allclose(blocks["saturation"], [102, 0, 102, 0], atol=0.1)
    np.testing.assert_array_equal(blocks["dark"], [0, 1, 0, 0])
    pink = np.log10((GLASS + 1) / np.array([201, 121, 151])).sum()
    grey = np.log10((GLASS + 1) / 61).sum()
    brighter = measure_blocks(np.full((8, 8, 3), (255, 120, 150), np.uint8), 1, GLASS)["density"]
    assert brighter[0] == pytest.approx(pink - np.log10(243 / 201), rel=2e-3)  # light is no debt
    np.testing.assert_allclose(blocks["density"], [pink, grey, pink, 0], rtol=2e-3, atol=1e-3)


def test_focus_and_tenengrad_of_a_known_pattern():
    stripes = np.tile(np.array([125, 125, 115, 115], np.uint8), (64, 16))  # period 4 px
    found = measure(np.repeat(stripes[None, ..., None], 3, axis=3), GLASS)
    # Laplacian +-10, grey +-5; noise allows for 20. Sobel along x: a step of 10 over two pixels.
    assert found["focus"][0] == pytest.approx((10**2 - 20) / 5**2, rel=0.06)
    assert found["tenengrad"][0] == pytest.approx(5**2, rel=0.04)


def test_focus_falls_with_blur_and_noise_does_not_feign_it():
    sharp = nuclei(256)
    levels = [sharp, *(out_of_focus(sharp, sigma) for sigma in (1, 2, 4))]
    focus = [measure(level[None], GLASS)["focus"][0] for level in levels]
    assert focus[0] > focus[1] > focus[2] > focus[3]
    noise = np.random.default_rng(1).normal(0, 1, sharp.shape)
    noisy = np.clip(np.rint(levels[3] + noise), 0, 255).astype(np.uint8)
    assert measure(noisy[None], GLASS)["focus"][0] < 0.05 * focus[0]


def test_focus_does_not_depend_on_stain_strength_nor_on_glass_in_the_patch():
    sharp = nuclei(256)
    focus = float(measure(sharp[None], GLASS)["focus"][0])
    strong = (255 * (sharp / 255) ** 1.6).astype(np.uint8)
    assert measure(strong[None], GLASS)["focus"][0] == pytest.approx(focus, rel=0.35)
    half = sharp.copy()
    half[:, 128:] = GLASS
    assert measure(half[None], GLASS)["focus"][0] == pytest.approx(focus, rel=0.25)


@pytest.mark.parametrize("colour", [tuple(GLASS), (200, 120, 170), (0, 0, 0)])
def test_nothing_to_judge_has_no_focus(colour):
    patch = np.full((64, 64, 3), colour, np.uint8)
    found = measure(patch[None], GLASS)
    assert np.isnan(found["focus"][0])
    assert found["tenengrad"][0] == 0
    shades = patch + np.random.default_rng(0).integers(0, 3, (*patch.shape[:2], 1), np.uint8)
    assert np.isnan(measure(shades[None], GLASS)["focus"][0])
    assert not any(np.isnan(found[name][0]) for name in NAMES if name != "focus")


def test_blocks_may_be_tiny():
    blocks = measure_blocks(np.full((4, 8, 3), (200, 120, 150), np.uint8), 4, GLASS)
    np.testing.assert_allclose(blocks["saturation"], np.full(16, 102), atol=0.1)


@pytest.mark.parametrize(("shape", "n"), [((65, 64), 4), ((64, 66), 4), ((0, 64), 4)])
def test_a_region_that_cannot_be_cut_is_refused(shape, n):
    with pytest.raises(ValueError, match=f"cannot be cut into {n} x {n} blocks"):
        measure_blocks(np.zeros((*shape, 3), np.uint8), n, GLASS)


def test_blurred_is_below_a_fifth_of_the_slides_median_over_tissue():
    focus = np.array([1.0, 1.1, 0.9, 0.21, 0.17, np.nan, 0.0, 0.05], np.float16)
    tissue = np.array([1, 0.8, 0.6, 0.9, 0.9, 1, 0.1, 0.2])
    np.testing.assert_array_equal(
        blurred(focus, tissue), [False, False, False, False, True, False, True, True]
    )
    # the patches with little tissue would move the median from 0.9 to 0.21
    assert blurred(focus, tissue).sum() > blurred(focus, np.ones(8)).sum()


@pytest.mark.filterwarnings("error")
def test_nothing_is_blurred_where_nothing_can_be_judged():
    assert not blurred(np.full(3, np.nan), np.ones(3)).any()
    assert not blurred(np.array([0.1, 5.0]), np.zeros(2)).any()
    assert blurred(np.zeros(0), np.zeros(0)).shape == (0,)


def real_patches(rgb, mpp_file, sigma_um):
    """Patches at 2 um/px and their tissue fraction, of a picture put out of focus first."""
    blurry = out_of_focus(rgb, sigma_um, mpp_file) if sigma_um else rgb
    factor = mpp_file / 2.0
    small = cv2.resize(blurry, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    patches = cut(small, 128)
    return patches, (patches.min(axis=3) < 215).mean(axis=(1, 2))


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["hp_slide.jpeg", "hp_slide_with_ink.jpeg", "CMU-1"])
def test_real_patches_out_of_focus_are_told_from_sharp_ones(real_slides, name):
    if name == "CMU-1":
        with Slide(real_slides / "native" / "CMU-1-Small-Region.svs") as slide:
            rgb, mpp = slide.read(0, 0, 0, *slide.dimensions)[0], 0.499
    else:
        rgb = np.asarray(Image.open(real_slides / name).convert("RGB"))
        mpp = 0.5 if name == "hp_slide.jpeg" else 2.0  # by the size of nuclei and of the core
    patches, tissue = real_patches(rgb, mpp, 0)
    enough = tissue >= 0.5
    sharp = measure(patches, GLASS)["focus"]
    assert blurred(sharp, tissue)[enough].mean() < 0.03
    for sigma, flagged in ((2, 0.95), (4, 1.0)):
        blurry = measure(real_patches(rgb, mpp, sigma)[0], GLASS)["focus"]
        some = np.arange(len(sharp)) % 3 == 0  # a third of the slide is out of focus
        found = blurred(np.where(some, blurry, sharp), tissue)
        assert found[some & enough].mean() >= flagged
        assert found[~some & enough].mean() < 0.04
