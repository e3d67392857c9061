"""What stands beside each patch: flags, focus, damage; and what `drop` leaves out."""

import logging

import cv2
import numpy as np
import pytest

from tests.wsi.stage_runs import ring, run_stages
from wsi.grid import children
from wsi.measures import NAMES
from wsi.patch_quality import flags, measure_each, measure_patches
from wsi.reader import Slide
from wsi.storage import read_outcome

# a slide of 4 x 3 coarse patches of 1024 px, all tissue: rows of the file are x slow, y fast
WIDTH, HEIGHT = 4096, 3072
EVERY = [[ring(0, 0, WIDTH, HEIGHT)]]
PEN, FOLD, BLUR = 1, 2, 4


@pytest.fixture(scope="module")
def sharp(noise):
    """Tissue with nuclei everywhere, some 8 um wide."""
    grain = np.tile(noise(512, 512, seed=3)[..., :1] // 4, (HEIGHT // 512, WIDTH // 512, 1))
    rgb = np.array((150, 80, 130), np.uint8) + grain
    rng = np.random.default_rng(0)
    for x, y in rng.integers(0, (WIDTH, HEIGHT), (8000, 2)).tolist():
        cv2.circle(rgb, (x, y), 16, (90, 60, 130), -1)
    return rgb


@pytest.fixture(scope="module")
def sharp_slide(make_slide, sharp, tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("sharp") / "slide.tiff", sharp)


@pytest.fixture
def lay(run, sharp_slide):
    """Return a function that lays patches on drawn regions of that slide."""

    def lay(pieces=EVERY, slide=sharp_slide, **settings):
        return run(pieces, width=WIDTH, height=HEIGHT, slide=slide, **settings)

    return lay


def corner(i):
    """Return column and row of coarse patch i."""
    return divmod(i, HEIGHT // 1024)


def strip(i, share):
    """Return a region that covers a share of coarse patch i, from its left side."""
    column, row = corner(i)
    x, y = 1024 * column, 1024 * row
    return [ring(x, y, x + round(share * 1024), y + 1024)]


def test_nothing_is_flagged_on_clean_tissue(lay, files):
    assert lay().ok
    (coarse, attributes), (fine, _) = files()
    assert len(coarse["coords"]) == 12
    for table in (coarse, fine):
        assert table["flags"].dtype == np.uint8
        assert not table["flags"].any()
        assert not table["pen"].any()
    assert attributes["flag_names"] == "pen,fold,blur"
    assert attributes["blurred_share"] == 0
    assert attributes["dropped_patches"] == 0


def test_each_flag_has_its_bit_and_its_limit(lay, files):
    lay(Pen=[strip(1, 0.0625), strip(2, 0.015)], Fold=[strip(1, 0.25), strip(4, 0.25),
                                                       strip(5, 0.15)])  # fmt: skip
    (coarse, _), (fine, _) = files()
    # outlines go back to a mask of 32 px a pixel: one column more of it is 1 / 32 of a patch
    np.testing.assert_allclose(coarse["pen"][[1, 2, 3]], [0.0625, 0.015, 0], atol=0.0325)
    np.testing.assert_allclose(coarse["fold"][[1, 4, 5, 0]], [0.25, 0.25, 0.15, 0], atol=0.0325)
    assert coarse["pen"].dtype == coarse["fold"].dtype == np.float16
    expected = np.zeros(12, int)
    expected[1], expected[4] = PEN + FOLD, FOLD
    np.testing.assert_array_equal(coarse["flags"], expected)
    # of the children just the left column of each block is under the fold
    blocks = fine["flags"].reshape(12, 4, 4)
    assert (blocks[4] == [FOLD, 0, 0, 0]).all()
    assert (blocks[1] == [PEN + FOLD, 0, 0, 0]).all()
    assert (blocks[5] == [FOLD, 0, 0, 0]).all()  # over half of a child, but little of its parent


def test_flags_by_their_limits():
    share = np.array([0.0, 0.05, 0.0501, 0.2, 0.2001, 1.0])
    one, sharpness = np.ones(6), np.array([1, 1, 1, 1, 0.21, 0.19])
    none = np.zeros(6)
    assert flags(one, share, none, one).tolist() == [0, 0, PEN, PEN, PEN, PEN]
    assert flags(one, none, share, one).tolist() == [0, 0, 0, 0, FOLD, FOLD]
    assert flags(one, none, none, sharpness).tolist() == [0, 0, 0, 0, 0, BLUR]
    assert flags(one, share, share, sharpness).tolist()[-1] == PEN + FOLD + BLUR
    assert flags(one, none, none, np.full(6, np.nan)).tolist() == [0] * 6
    assert flags(*np.zeros((4, 0))).tolist() == []


@pytest.fixture(scope="module")
def blurred_slide(make_slide, sharp, tmp_path_factory):
    """Coarse patches 0 and 7 are really out of focus, at level 0 and so at every level."""
    rgb = sharp.copy()
    for i in (0, 7):
        column, row = corner(i)
        window = rgb[1024 * row : 1024 * (row + 1), 1024 * column : 1024 * (column + 1)]
        window[:] = cv2.GaussianBlur(window, (0, 0), 24)
    return make_slide(tmp_path_factory.mktemp("blurred") / "slide.tiff", rgb)


def test_blurred_pixels_are_flagged_in_the_patch_and_its_children(lay, files, blurred_slide):
    lay(slide=blurred_slide)
    (coarse, attributes), (fine, _) = files()
    expected = np.zeros(12, int)
    expected[[0, 7]] = BLUR
    np.testing.assert_array_equal(coarse["flags"], expected)
    inner = fine["flags"].reshape(12, 4, 4)[:, 1:3, 1:3]  # the rest sees the sharp neighbours
    assert (inner == expected[:, None, None]).all()
    assert attributes["blurred_share"] == pytest.approx(2 / 12)
    sharp_ones = np.delete(np.arange(12), [0, 7])
    assert coarse["focus"][[0, 7]].max() < 0.2 * coarse["focus"][sharp_ones].min()


def test_nothing_is_dropped_unasked_and_drop_takes_whole_blocks(
    lay, files, blurred_slide, caplog, tmp_path
):
    regions = {"Pen": [strip(1, 0.25)], "Fold": [strip(4, 0.5), strip(7, 0.5)]}
    lay(slide=blurred_slide, **regions)
    (all_coarse, _), (all_fine, _) = files()
    assert all_coarse["flags"].tolist() == [BLUR, PEN, 0, 0, FOLD, 0, 0, FOLD + BLUR, 0, 0, 0, 0]
    for drop, lost, words in (
        (["pen"], [1], "1 of 12 coarse patches dropped (pen 1)"),
        (["fold", "blur"], [0, 4, 7], "3 of 12 coarse patches dropped (fold 2, blur 2)"),
        (["pen", "fold", "blur"], [0, 1, 4, 7], "4 of 12 coarse patches dropped (pen 1, fold 2, "),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert lay(slide=blurred_slide, drop=drop, **regions).ok
        assert f"slide S1: {words}" in caplog.text
        (coarse, attributes), (fine, fine_attributes) = files()
        kept = np.delete(np.arange(12), lost)
        for name, values in all_coarse.items():
            np.testing.assert_array_equal(coarse[name], values[kept], err_msg=name)
        for name, values in all_fine.items():
            blocks = values.reshape(12, 16, *values.shape[1:])[kept]
            np.testing.assert_array_equal(
                fine[name], blocks.reshape(-1, *values.shape[1:]), err_msg=name
            )
        np.testing.assert_array_equal(fine["coords"][::16], coarse["coords"])
        assert attributes["dropped_patches"] == fine_attributes["dropped_patches"] == len(lost)
        assert attributes["blurred_share"] == pytest.approx(2 / 12)  # of all that were laid
    assert attributes["dropped"] == '{"blur": 2, "fold": 2, "pen": 1}'


def test_dropped_patches_are_crossed_out_on_the_picture(lay, tmp_path):
    def orange(i):
        picture = cv2.imread(str(tmp_path / "grid.jpg")).astype(int)
        scale = picture.shape[1] / WIDTH
        x, y = (round(1024 * side * scale) for side in corner(i))
        side = round(1024 * scale)
        b, _, r = np.moveaxis(picture[y : y + side, x : x + side], -1, 0)
        found = (r > 150) & (b < 140) & (r > b + 60)
        middle = slice(side // 2 - 3, side // 2 + 4)
        return found[middle, middle].any(), found[side // 8, side // 2 - 3 : side // 2 + 4].any()

    lay(Fold=[strip(4, 0.5)])
    assert orange(4) == (False, False)
    lay(Fold=[strip(4, 0.5)], drop=["fold"])
    assert orange(4) == (True, False)  # the cross, not a filled square
    assert orange(8) == (False, False)


def test_to_drop_every_patch_is_an_outcome(lay, tmp_path, files):
    outcome = lay(Pen=[[ring(0, 0, WIDTH, HEIGHT)]], drop=["pen", "blur"])
    assert (outcome.kind, outcome.stage) == ("no_tissue", "make_patches")
    assert "all 12 coarse patches are flagged" in outcome.reason
    assert "pen" in outcome.reason
    assert "drop less (tissue: drop)" in outcome.reason
    for table, _ in files():
        assert len(table["coords"]) == 0
    assert read_outcome(tmp_path / "level1.h5") == outcome
    assert lay(Pen=[[ring(0, 0, WIDTH, HEIGHT)]], drop=["fold"]).ok


@pytest.mark.parametrize(
    ("mpp0", "downsamples"), [(0.25, (4, 16)), (0.5, (4,)), (0.9, ()), (0.2325, (2, 4))]
)
def test_measures_are_finite_or_say_that_there_is_nothing_to_judge(
    run, files, sharp, mpp0, downsamples
):
    rgb = sharp[:2048, :2560].copy()
    rgb[:, 1536:] = (242, 240, 243)  # bare glass
    assert run([[ring(0, 0, 2560, 2048)]], width=2560, height=2048, rgb=rgb, mpp0=mpp0,
               downsamples=downsamples, min_tissue=0).ok  # fmt: skip
    (coarse, _), (fine, attributes) = files()
    for table in (coarse, fine):
        for name in NAMES:
            assert table[name].dtype == np.float16, name
            assert table[name].shape == (len(table["coords"]),), name
            if name != "focus":
                assert np.isfinite(table[name]).all(), name
                assert (table[name] >= 0).all(), name
    side = attributes["footprint0"]
    x = fine["coords"][:, 0]
    on_glass, on_tissue = x >= 1536 + 64, x + side <= 1536 - 64
    on_tissue &= fine["coords"][:, 1] + side <= 2048
    assert on_glass.any()
    assert on_tissue.any()
    assert np.isnan(fine["focus"][on_glass]).all()
    assert np.isfinite(fine["focus"][on_tissue]).all()
    np.testing.assert_allclose(fine["density"][on_glass].astype(float), 0, atol=0.02)
    assert (fine["density"][on_tissue] > 0.5).all()
    # a coarse patch's measures are its children's: means, and the median of the focus
    blocks = {name: fine[name].astype(np.float32).reshape(-1, 16) for name in NAMES}
    for name in set(NAMES) - {"focus"}:
        np.testing.assert_allclose(coarse[name], blocks[name].mean(axis=1), rtol=2e-3, atol=1e-4)
    judged = np.isfinite(blocks["focus"]).mean(axis=1) >= 0.5
    np.testing.assert_array_equal(np.isfinite(coarse["focus"]), judged)
    medians = np.nanmedian(blocks["focus"][judged], axis=1)
    np.testing.assert_allclose(coarse["focus"][judged], medians, rtol=2e-3)


def test_children_are_measured_in_the_order_of_their_rows(run, files, sharp):
    """One fine patch of one coarse patch is dark; its row, and no other, says so."""
    rgb = sharp.copy()
    column, row = 2, 1  # of the child in coarse patch 4, which begins at (1024, 1024)
    x, y = 1024 + 256 * column, 1024 + 256 * row
    rgb[y : y + 256, x : x + 256] = 20
    run(EVERY, width=WIDTH, height=HEIGHT, rgb=rgb)
    _, (fine, _) = files()
    (place,) = np.flatnonzero(fine["dark"] > 0.9)
    assert fine["coords"][place].tolist() == [x, y]
    assert place == 16 * 4 + 4 * row + column


def damaged_copy(slide, folder, damage_tile, level, numbers):
    path = folder / "damaged.tiff"
    path.write_bytes(slide.read_bytes())
    for number in numbers:
        damage_tile(path, level, number)
    return path


def test_damage_is_a_share_of_the_patches_it_touches_and_of_no_other(
    lay, files, sharp_slide, damage_tile, tmp_path
):
    # read at 2 um/px: level 1 (4x) of 1024 x 768, in 4 x 3 tiles of 256 = one coarse patch
    path = damaged_copy(sharp_slide, tmp_path, damage_tile, 1, [6])  # column 2, row 1
    assert lay(slide=path).ok
    (coarse, attributes), (fine, _) = files()
    expected = np.zeros(12, np.float16)
    expected[3 * 2 + 1] = 1
    np.testing.assert_array_equal(coarse["unreadable"], expected)
    assert coarse["unreadable"].dtype == np.float16
    assert attributes["damaged_tiles"] == 1
    assert len(fine["coords"]) == 16 * 12  # kept, all of it
    lay(slide=sharp_slide)
    (clean, clean_attributes), _ = files()
    assert clean_attributes["damaged_tiles"] == 0
    others = expected == 0
    for name in NAMES:
        np.testing.assert_array_equal(coarse[name][others], clean[name][others], err_msg=name)


def test_a_tile_that_several_patches_share_is_a_part_of_each(
    lay, files, make_slide, sharp, damage_tile, tmp_path
):
    slide = make_slide(tmp_path / "wide.tiff", sharp, tile=512)  # 2 x 2 coarse patches a tile
    path = damaged_copy(slide, tmp_path, damage_tile, 1, [1])  # right half, upper 2 of 3 rows
    lay(slide=path)
    (coarse, attributes), _ = files()
    touched = (coarse["coords"] >= (2048, 0)).all(axis=1) & (coarse["coords"][:, 1] < 2048)
    np.testing.assert_array_equal(coarse["unreadable"], touched.astype(np.float16))
    assert touched.sum() == 4
    assert attributes["damaged_tiles"] == 1
    # patches that lie across the tile's border are lost in part
    lay([[ring(1536, 0, 2560, 1024)]], slide=path, grid="contour", rule="basic")
    (coarse, _), _ = files()
    assert coarse["coords"].tolist()[0] == [1536, 0]
    assert coarse["unreadable"][0] == pytest.approx(0.5)


def test_pen_and_folds_that_the_stages_find_reach_the_flags(make_slide, sharp, glass, tmp_path):
    """Through find_tissue: blue ink beside tissue, no region drawn by hand."""
    rgb = glass(4096, 6144)
    rgb[:3072, :4096] = sharp
    cv2.line(rgb, (3900, 200), (3900, 2900), (40, 60, 190), 150)
    results = run_stages(make_slide(tmp_path / "a.tiff", rgb), tmp_path)
    assert results.laid.ok
    assert results.facts["pen_mm2"] == pytest.approx(2850 * 150 * (0.25 / 1000) ** 2, rel=0.3)
    coarse, _ = results.level(2)
    flagged = coarse["coords"][(coarse["flags"] & PEN) > 0]
    assert flagged.tolist() == [[3072, y] for y in (0, 1024, 2048)]


def test_patches_read_one_by_one_measure_what_they_do_in_their_region(sharp_slide):
    coarse = np.array([[0, 0], [1024, 2048]])
    white = np.array([242, 240, 243], np.float32)
    with Slide(sharp_slide) as slide:
        together = measure_patches(slide, coarse, 1024, 0.25, white).fine
        alone = measure_each(slide, children(coarse, 256), 256, 0.25, white)
    assert sorted(alone) == sorted(together) == sorted(NAMES)
    for name, values in alone.items():
        assert values.dtype == np.float16
        # gradients at the edge of a patch see its neighbour or its mirror image
        rtol = 0.25 if name in ("focus", "tenengrad") else 2e-3
        np.testing.assert_allclose(values, together[name], rtol=rtol, err_msg=name)
