"""CLAM's segmentation on pictures small enough to work out by hand."""

import numpy as np
import pytest

from wsi.clam.segmentation import (
    PRESETS,
    ClamParameters,
    choose_level,
    pieces_of_mask,
    segment,
    tissue_mask,
)

TISSUE = (200, 100, 200)  # saturation 255 * 100 / 200 = 127.5
BARE = ClamParameters(mthresh=1, close=0, a_t=0, a_h=0, max_n_holes=100)


@pytest.fixture
def mask():
    """Return an empty mask of 64 x 48 pixels."""
    return np.zeros((48, 64), np.uint8)


def picture(height=48, width=64):
    return np.full((height, width, 3), 255, np.uint8)


def pieces_of(mask, scale=(1, 1), **changed):
    height, width = mask.shape
    parameters = ClamParameters(**{"a_t": 0, "a_h": 0, "max_n_holes": 100} | changed)
    return pieces_of_mask(mask, (width * scale[0], height * scale[1]), parameters)


def box(ring):
    return [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]


def outlines(pieces):
    return [box(outline) for outline, *_ in pieces]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(100, 100)], 0),
        ([(6400, 6400), (1600, 1600), (400, 400), (100, 100)], 3),  # 64 itself counts
        # TCGA's 64.012 does not, so 16x is segmented
        ([(128_024, 128_024), (32_004, 32_004), (8_000, 8_000), (2_000, 2_000)], 2),
        # 63.9 and 64.05: their mean counts
        ([(6390, 6405), (100, 100)], 1),
        ([(6390, 6412), (100, 100)], 0),
        ([(70_000, 70_000), (1000, 1000), (1100, 1100)], 0),  # never past the first that is coarser
    ],
)
def test_level_is_the_last_up_to_64(levels, expected):
    assert choose_level(levels) == expected


def test_presets():
    assert PRESETS["clam"] == ClamParameters()
    assert PRESETS["bwh_biopsy"] == ClamParameters(-1, 15, 11, 2, False, 1, 1, 2)
    assert PRESETS["bwh_resection"] == ClamParameters(-1, 15, 11, 4, False, 100, 16, 8)
    assert PRESETS["tcga"] == ClamParameters(-1, 8, 7, 4, False, 16, 4, 8)


@pytest.mark.parametrize(
    ("high", "low", "threshold", "tissue"),
    [
        (255, 247, 8, False),  # saturation 8 exactly
        (255, 246, 8, True),
        (243, 235, 8, False),  # 8.4 before rounding
        (90, 87, 8, False),  # 8.5: the fixed-point table says 8
        (150, 145, 8, False),
        (255, 240, 15, False),
        (255, 239, 15, True),
    ],
)
def test_saturation_is_the_rounded_one_and_must_exceed_the_threshold(high, low, threshold, tissue):
    rgb = picture()
    rgb[10:20, 10:20] = high, low, low
    mask = tissue_mask(rgb, ClamParameters(sthresh=threshold, mthresh=1, close=0))
    assert mask[15, 15] == (255 if tissue else 0)
    assert mask[0, 0] == 0


def test_white_and_black_glass_have_no_saturation():
    rgb = picture()
    rgb[:24] = 0
    assert not tissue_mask(rgb, ClamParameters()).any()


def test_median_filter_repeats_the_edge():
    # 3 x 3 window at the corner sees pixel (0, 0) four times and (1, 0) twice: six of nine
    rgb = picture()
    rgb[0, :2] = TISSUE
    mask = tissue_mask(rgb, ClamParameters(mthresh=3, close=0))
    assert np.argwhere(mask).tolist() == [[0, 0]]


@pytest.mark.parametrize(("close", "place"), [(0, 7), (1, 7), (2, 8), (3, 7), (4, 8)])
def test_an_even_closing_moves_the_mask(close, place):
    rgb = picture()
    rgb[7, 7] = TISSUE
    mask = tissue_mask(rgb, ClamParameters(mthresh=1, close=close))
    assert np.argwhere(mask).tolist() == [[place, place]]


def test_closing_joins_pieces_and_otsu_finds_its_own_threshold():
    rgb = picture()
    rgb[10:20, 10:20] = rgb[10:20, 22:32] = TISSUE  # two pixels apart
    joined = segment(rgb, (64, 48), ClamParameters(mthresh=1, close=3, a_t=0))
    assert outlines(joined) == [[10, 10, 31, 19]]
    rgb[10:20, 22:32] = 255, 225, 225  # saturation 30: above 8, but Otsu's threshold is higher
    assert len(segment(rgb, (64, 48), BARE)) == 2
    otsu = ClamParameters(mthresh=1, close=0, a_t=0, use_otsu=True)
    rgb[30:40, 10:60] = TISSUE
    assert outlines(segment(rgb, (64, 48), otsu)) == [[10, 30, 59, 39], [10, 10, 19, 19]]


def test_blank_slide_has_no_piece():
    assert segment(picture(), (640, 480), ClamParameters()) == []


def test_every_border_point_of_a_piece_and_its_hole(mask):
    mask[10:20, 10:30] = 255
    mask[13:16, 15:18] = 0
    ((outline, hole),) = pieces_of(mask)
    assert outline.dtype == hole.dtype == np.int32
    assert len(outline) == 2 * (20 + 10) - 4
    assert box(outline) == [10, 10, 29, 19]
    # the hole of 3 x 3 is bordered by tissue: 12 pixels beside it, no corners
    beside = [(x, y) for x in range(15, 18) for y in (12, 16)]
    beside += [(x, y) for y in range(13, 16) for x in (14, 18)]
    assert set(map(tuple, hole.tolist())) == set(beside)
    assert len(hole) == 12


def test_points_are_scaled_per_axis_and_cut_off():
    mask = np.zeros((3, 3), np.uint8)
    mask[:] = 255
    # 10 / 3 = 3.33 and 8 / 3 = 2.67 level-0 pixels a pixel: 2 -> 6.67 and 5.33, cut to 6 and 5
    ((outline,),) = pieces_of_mask(mask, (10, 8), ClamParameters(a_t=0))
    assert sorted(set(outline[:, 0].tolist())) == [0, 3, 6]
    assert sorted(set(outline[:, 1].tolist())) == [0, 2, 5]


def test_last_piece_in_raster_order_comes_first_and_islands_are_pieces(mask):
    mask[2:6, 40:50] = 255  # first pixel (40, 2)
    mask[2:6, 5:15] = 255  # (5, 2)
    mask[20:40, 10:40] = 255  # (10, 20)
    mask[24:36, 14:30] = 0
    mask[28:32, 18:24] = 255  # an island in that hole: (18, 28)
    assert outlines(pieces_of(mask)) == [
        [18, 28, 23, 31],
        [10, 20, 39, 39],
        [40, 2, 49, 5],
        [5, 2, 14, 5],
    ]


def test_tissue_meets_at_corners_and_holes_do_not(mask):
    mask[4:8, 4:8] = mask[8:12, 8:12] = 255
    assert outlines(pieces_of(mask)) == [[4, 4, 11, 11]]
    mask[:] = 255
    mask[20:24, 20:24] = mask[24:28, 24:28] = 0
    ((_, *holes),) = pieces_of(mask)
    assert [box(hole) for hole in holes] == [[23, 23, 28, 28], [19, 19, 24, 24]]


def test_holes_by_size_then_cut_then_too_small_dropped(mask):
    mask[:] = 255
    for left, side in ((2, 2), (10, 5), (20, 3), (30, 5), (40, 4)):
        mask[5 : 5 + side, left : left + side] = 0
    # a hole of side s has the polygon (s + 2 wide, corners cut off) of area (s + 1)^2 - 2
    ((_, *holes),) = pieces_of(mask)
    assert [box(hole)[0] for hole in holes] == [29, 9, 39, 19, 1]  # equal ones: last one first
    ((_, *holes),) = pieces_of(mask, max_n_holes=2)
    assert [box(hole)[0] for hole in holes] == [29, 9]
    # at scale 512 one reference patch is one pixel of the mask: 5 x 5 -> 34, 4 x 4 -> 23
    ((_, *holes),) = pieces_of(mask, scale=(512, 512), a_h=23)
    assert [box(hole)[0] for hole in holes] == [29 * 512, 9 * 512]
    ((_, *holes),) = pieces_of(mask, scale=(512, 512), a_h=22.9)
    assert len(holes) == 3
    ((_, *holes),) = pieces_of(mask, max_n_holes=0)
    assert holes == []


def test_net_area_counts_every_hole_and_must_exceed_a_t(mask):
    mask[10:31, 10:31] = 255  # polygon of 20 x 20 = 400
    mask[15:20, 15:20] = 0  # 34
    mask[25:27, 25:27] = 0  # 7
    assert len(pieces_of(mask, scale=(512, 512), a_t=358.9)) == 1
    assert pieces_of(mask, scale=(512, 512), a_t=359) == []  # 400 - 34 - 7, kept holes or not
    assert pieces_of(mask, scale=(512, 512), a_t=359, max_n_holes=0) == []


def test_reference_patch_is_cut_to_whole_pixels(mask):
    mask[10:31, 10:31] = 255
    # 512^2 / (300 * 300) = 2.9 -> 2 pixels a reference patch, so 199.9 of them are below 400
    assert len(pieces_of(mask, scale=(300, 300), a_t=199.9)) == 1
    assert pieces_of(mask, scale=(300, 300), a_t=200) == []


def test_a_line_or_a_pixel_has_no_area(mask):
    mask[5, 5] = mask[10, 10:20] = 255
    assert pieces_of(mask) == []


@pytest.fixture
def ten_pieces(mask):
    """Return a mask whose piece i begins in row 38 - 4 i."""
    for number in range(10):
        mask[38 - 4 * number : 40 - 4 * number, 5:10] = 255
    return mask


def test_kept_and_excluded_pieces(ten_pieces):
    def rows(**changed):
        return [int(outline[:, 1].min()) for outline, *_ in pieces_of(ten_pieces, **changed)]

    numbered = [38 - 4 * number for number in range(10)]
    assert rows() == numbered
    assert rows(keep_ids=(3, 1)) == [numbered[1], numbered[3]]
    assert rows(exclude_ids=(0, 3, 77)) == [numbered[i] for i in (1, 2, 4, 5, 6, 7, 8, 9)]
    # in the order of the set {2, 9, 1, 0, 8} - {1}, as CLAM has it
    assert rows(keep_ids=(2, 9, 1, 0, 8), exclude_ids=(1,)) == [numbered[i] for i in (0, 8, 2, 9)]
    assert rows(keep_ids=(1,), exclude_ids=(1,)) == []


def test_a_kept_number_that_is_not_there(ten_pieces, mask):
    expected = (
        r"keep_ids names piece 10, but the slide has 10 piece\(s\) of tissue, numbered 0 to 9"
    )
    with pytest.raises(ValueError, match=expected):
        pieces_of(ten_pieces, keep_ids=(0, 10))
    with pytest.raises(ValueError, match=r"keep_ids names piece 0, but the slide has 0 piece"):
        pieces_of(np.zeros_like(mask), keep_ids=(0,))
