"""Changed pixels: values against other libraries, draws that belong to a patch."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wsi.perturbation import BLUR, HED, KINDS, Perturbation

N = 40


@pytest.fixture(scope="module")
def tissue(noise):
    """A patch with the colours of a stained section and glass."""
    patch = np.array((170, 90, 150), np.uint8) + noise(64, 64, seed=1) // 4
    cv2.circle(patch, (20, 30), 9, (80, 50, 120), -1)
    patch[:, 50:] = 240
    return patch


def change(kind, level, slide="S1", seed=5, patches=N):
    return Perturbation(kind, level, seed).of_slide(slide, patches)


@pytest.mark.parametrize("level", BLUR)
def test_blur_equals_scipys_with_the_kernel_of_the_specification(tissue, level):
    blur = change("blur", level)
    for row in range(0, N, 5):
        sigma = blur.sigma[row]
        assert sigma in BLUR[level]
        radius = 3 * int(np.ceil(sigma))  # a side of 6 ceil(sigma) + 1
        each = [
            gaussian_filter(tissue[..., c].astype(float), sigma, mode="mirror", radius=radius)
            for c in range(3)
        ]
        found = blur.change(tissue, row)
        assert np.abs(found - np.stack(each, -1)).max() <= 1  # whole grey levels, rounded once


def test_levels_of_blur_are_those_of_the_specification():
    first_last = {level: (sigma[0], sigma[-1], len(sigma)) for level, sigma in BLUR.items()}
    assert first_last == {
        "lighter": (0.1, 1.1, 11), "light": (1.2, 2.2, 11), "strong": (2.3, 3.0, 8)
    }  # fmt: skip
    assert set(change("blur", "light", patches=2000).sigma) == set(BLUR["light"])


def test_levels_of_stain_are_those_of_the_specification():
    assert HED == {"lighter": 0.03, "light": 0.1, "strong": 1.0}
    for level, most in HED.items():
        drawn = change("hed", level, patches=5000)
        for values in (drawn.factor - 1, drawn.shift):
            assert values.shape == (5000, 3)
            assert np.abs(values).max() <= most
            np.testing.assert_allclose(values.std(0), most / np.sqrt(3), rtol=0.05)
            np.testing.assert_allclose(values.mean(0), 0, atol=0.05 * most)


@pytest.mark.parametrize("level", HED)
def test_stain_equals_scikit_images_conversions(tissue, level):
    """Where no amount is negative; scikit-image cuts those off, we do not."""
    color = pytest.importorskip("skimage.color")
    inside = color.hed2rgb(np.random.default_rng(0).uniform(0.02, 0.12, (64, 64, 3)))
    patch = np.rint(255 * inside).astype(np.uint8)
    assert (color.rgb2hed(patch) > 0).mean() > 0.99
    drawn = change("hed", level)
    for row in range(8):
        amounts = color.rgb2hed(patch) * drawn.factor[row] + drawn.shift[row]
        expected = np.rint(255 * color.hed2rgb(amounts))
        positive = (color.rgb2hed(patch) > 0).all(-1)
        assert np.abs(drawn.change(patch, row) - expected)[positive].max() <= 1


def test_nothing_changes_where_the_draws_are_nothing(tissue):
    drawn = change("hed", "light")
    drawn.factor[0], drawn.shift[0] = 1, 0
    np.testing.assert_array_equal(drawn.change(tissue, 0), tissue)
    assert (drawn.change(tissue, 1) != tissue).any()


@pytest.mark.parametrize(("grey", "stays"), [(10, True), (14, False), (240, False), (245, True)])
def test_very_dark_and_very_bright_patches_keep_their_colour(grey, stays):
    patch = np.full((16, 16, 3), grey, np.uint8)  # 0.05 and 0.95 are 12.75 and 242.25
    found = change("hed", "strong").change(patch, 0)
    assert (found == patch).all() == stays


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_is_changed_the_same_in_any_block_and_otherwise_in_another_slide(tissue, kind):
    patches = np.stack([tissue] * N)
    whole = change(kind, "light")(patches, 0)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(change(kind, "light")(patches[:16], 16), whole[16:32])
    longer = change(kind, "light", patches=3 * N)  # nor does the length of the slide count
    np.testing.assert_array_equal(longer(patches, 0), whole)
    for other in (
        change(kind, "light", slide="S2"),
        change(kind, "light", seed=6),
        change(kind, "strong"),
    ):
        assert (other(patches, 0) != whole).any()
    assert len(np.unique(whole.reshape(N, -1), axis=0)) > 5, "each patch has a draw of its own"
    np.testing.assert_array_equal(patches[0], tissue)  # what was read is left alone
