import cv2
import numpy as np
import pytest

from wsi.outlines import area, polygons
from wsi.tissue_area import AreaOf


def blobs(seed, sigma):
    rng = np.random.default_rng(seed)
    rough = rng.standard_normal((120, 160)).astype(np.float32)
    smooth = cv2.GaussianBlur(rough, (0, 0), sigma) if sigma else rough
    return smooth > np.quantile(smooth, 0.6)


def test_outlines_run_along_the_borders_of_pixels():
    mask = np.zeros((10, 12), bool)
    mask[2:8, 3:9] = True
    mask[4, 5] = False  # a hole of one pixel
    ((outline, hole),) = polygons(mask, corner=(100, 200), factor=(32, 16))
    assert sorted(outline.tolist()) == [[196, 232], [196, 328], [388, 232], [388, 328]]
    assert hole.min(axis=0).tolist() == [100 + 5 * 32, 200 + 4 * 16]
    assert hole.max(axis=0).tolist() == [100 + 6 * 32, 200 + 5 * 16]
    assert area([outline, hole]) == pytest.approx((36 - 1) * 32 * 16, rel=0.02)


def test_a_single_pixel_is_a_square():
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    (piece,) = polygons(mask, (0, 0), (8, 8))
    assert area(piece) == 64


@pytest.mark.parametrize("sigma", [0, 1, 3, 8])
def test_a_mask_comes_back_from_its_outlines_pixel_by_pixel(sigma):
    mask = blobs(1, sigma)
    pieces = polygons(mask, (0, 0), (32, 32))
    found = AreaOf(pieces, 160 * 32, 120 * 32, 32)
    np.testing.assert_array_equal(np.diff(np.diff(found.integral, axis=0), axis=1), mask)


def test_the_area_of_tissue_as_smooth_as_real_one_is_that_of_its_pixels():
    mask = blobs(2, 8)
    total = sum(map(area, polygons(mask, (0, 0), (1, 1))))
    assert total == pytest.approx(mask.sum(), rel=0.01)


def test_a_hole_drawn_beside_its_outline_cuts_nothing():
    def square(x, y):
        return np.array([[x, y], [x + 320, y], [x + 320, y + 320], [x, y + 320]], float)

    there, elsewhere = square(640, 640), square(1600, 1600)
    found = AreaOf([[elsewhere], [there, elsewhere]], 3200, 3200, 32)
    np.testing.assert_array_equal(found.fraction(np.array([[640, 640], [1600, 1600]]), 320), 1)
