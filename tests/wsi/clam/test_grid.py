"""CLAM's grid: worked out by hand, and against OpenCV's point test."""

import cv2
import numpy as np
import pytest

from wsi.clam.grid import RULES, Lattice, contour_grid, footprint, inside, strictly_inside

SIZE = (100, 100)


def rectangle(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)


def grid(*piece, side=8, step=8, size=SIZE, **changed):
    return contour_grid([piece], size, (side, side), (step, step), **changed).tolist()


def product(xs, ys):
    return [[x, y] for x in xs for y in ys]


# The triangle (10, 10), (42, 10), (10, 42): a point is in it or on its border where x >= 10,
# y >= 10 and x + y <= 52. Candidates, footprint and step 8: 10, 18, 26, 34, 42 for x and y.
TRIANGLE = np.array([[10, 10], [42, 10], [10, 42]], np.int32)


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ("basic", 52),  # corner: x + y <= 52
        ("center", 44),  # centre x + 4, y + 4
        ("four_pt", 48),  # the nearest of the four points is x + 2, y + 2 (4 -+ 8 // 2 / 2)
        ("four_pt_hard", 40),  # the farthest x + 6, y + 6; the triangle is convex
    ],
)
def test_rules_on_a_triangle(rule, most):
    candidates = product(range(10, 43, 8), range(10, 43, 8))
    expected = [[x, y] for x, y in candidates if x + y <= most]
    assert grid(TRIANGLE, rule=rule) == expected
    assert expected[:2] == [[10, 10], [10, 18]]  # x slow, y fast


def test_last_row_and_column_of_the_box_are_candidates():
    # xmax 26 is the third candidate (w = xmax - xmin + 1 = 17); with xmax 25 there are two
    assert grid(rectangle(10, 10, 26, 25), rule="basic") == product([10, 18, 26], [10, 18])


def test_without_padding_patches_end_inside_the_slide():
    piece = rectangle(76, 60, 99, 99)
    assert grid(piece, rule="basic") == product([76, 84, 92], [60, 68, 76, 84, 92])
    # 92 + 8 = 100 just fits; on a slide of 99 it does not
    assert grid(piece, rule="basic", padding=False) == grid(piece, rule="basic")
    fits = grid(piece, rule="basic", padding=False, size=(99, 99))
    assert fits == product([76, 84], [60, 68, 76, 84])
    assert grid(piece, rule="basic", padding=False, size=(100, 99)) == product(
        [76, 84, 92], [60, 68, 76, 84]
    )
    assert grid(piece, rule="basic", padding=False, side=101) == []
    assert grid(piece, rule="basic", padding=False, size=(80, 200)) == []  # starts too far right


def test_centre_strictly_in_a_hole_goes_and_on_its_border_stays():
    piece = rectangle(0, 0, 39, 39)
    # centres at 4, 12, 20, 28, 36; the hole's border lies on 12 and 28: only (20, 20) is inside
    hole = rectangle(12, 12, 28, 28)
    everything = product(range(0, 39, 8), range(0, 39, 8))
    assert grid(piece, hole, rule="basic") == [c for c in everything if c != [16, 16]]
    wider = rectangle(11, 11, 29, 29)
    taken = product([8, 16, 24], [8, 16, 24])
    assert grid(piece, wider, rule="basic") == [c for c in everything if c not in taken]
    second = rectangle(1, 1, 7, 7)  # any of the holes: (4, 4) too
    expected = [c for c in everything if c not in ([16, 16], [0, 0])]
    assert grid(piece, hole, second, rule="basic") == expected


def test_an_odd_patch_has_its_centre_at_half_a_pixel_for_holes_only():
    piece = rectangle(0, 0, 8, 8)
    # patch of 3 at (0, 0): centre (1, 1) for the outline, (1.5, 1.5) for the hole
    assert grid(piece, rectangle(1, 1, 2, 2), rule="center", side=3, step=9) == []
    assert grid(piece, rectangle(0, 0, 1, 1), rule="center", side=3, step=9) == [[0, 0]]
    # side 3: a quarter is 3 // 2 // 2 = 0, so all four points are the centre (1, 1)
    for rule in ("four_pt", "four_pt_hard"):
        assert grid(rectangle(0, 0, 1, 1), rule=rule, side=3, step=9) == [[0, 0]]
        assert grid(np.array([[0, 0], [1, 0], [0, 1]]), rule=rule, side=3, step=9) == []


def test_points_are_placed_by_the_width_of_a_patch_on_both_axes():
    piece = [rectangle(0, 0, 20, 20)]
    # 16 wide, 4 high: centre (8, 8) below the corner, not (8, 2); so y = 12 is the last row
    found = contour_grid([piece], SIZE, (16, 4), (16, 4), "center")
    assert found.tolist() == product([0], [0, 4, 8, 12])
    # without padding the height counts for what fits: y < 20 - 4 + 1
    found = contour_grid([piece], (20, 14), (16, 4), (16, 4), "center", padding=False)
    assert found.tolist() == product([0], [0, 4, 8])


def test_pieces_follow_each_other_and_may_overlap():
    pieces = [[rectangle(50, 50, 60, 60)], [rectangle(5, 5, 6, 6)], [rectangle(51, 51, 52, 52)]]
    found = contour_grid(pieces, SIZE, (8, 8), (8, 8), "basic")
    assert found.tolist() == [*product([50, 58], [50, 58]), [5, 5], [51, 51]]
    assert found.dtype == np.int64


def test_no_piece_no_patch():
    found = contour_grid([], SIZE, (8, 8), (8, 8))
    assert found.shape == (0, 2)
    assert found.dtype == np.int64


def test_unknown_rule():
    with pytest.raises(ValueError, match=r"contour_fn is four_points; it must be one of basic, "):
        grid(TRIANGLE, rule="four_points")


def test_footprint_cuts_the_factor_off():
    levels = [(8192, 6143), (2048, 1536), (512, 384)]  # y: 3.9993 and 15.997
    assert [footprint(levels, level, 256) for level in range(3)] == [
        (256, 256),
        (1024, 768),
        (4096, 3840),
    ]
    with pytest.raises(ValueError, match=r"patch_level is 3, but the slide has 3 level\(s\)"):
        footprint(levels, 3, 256)


def test_every_point_of_random_polygons_against_opencv():
    """Small numbers: points on borders, corners and level edges are common."""
    rng = np.random.default_rng(7)
    tested = on_border = 0
    for _ in range(600):
        ring = random_ring(rng)
        lattice = random_lattice(rng)
        expected = point_tests(ring, lattice, 0.0)
        np.testing.assert_array_equal(inside(ring, lattice), expected >= 0, err_msg=f"{ring}")
        np.testing.assert_array_equal(strictly_inside(ring, lattice), expected > 0)
        halves = strictly_inside(2 * ring, lattice.doubled().shifted(1, 1))
        np.testing.assert_array_equal(halves, point_tests(ring, lattice, 0.5) > 0)
        tested += expected.size
        on_border += (expected == 0).sum()
    assert tested > 20_000
    assert on_border > 500


def random_ring(rng):
    """A polygon that may cross itself, run back on itself, or be a line or a point."""
    ring = rng.integers(-8, 9, (rng.integers(1, 12), 2)).astype(np.int32)
    if rng.random() < 0.3:
        ring = np.repeat(ring, 2, axis=0)
    if rng.random() < 0.3:
        ring = np.concatenate([ring, ring[::-1]])
    return ring


def random_lattice(rng):
    return Lattice(*rng.integers(-12, 4, 2), *rng.integers(1, 4, 2), *rng.integers(1, 14, 2))


def point_tests(ring, lattice, shift):
    """1 inside, 0 on the border, -1 outside, ``[columns, rows]``."""
    results = np.empty((lattice.columns, lattice.rows))
    for i, j in np.ndindex(results.shape):
        x, y = lattice.x + i * lattice.step_x + shift, lattice.y + j * lattice.step_y + shift
        results[i, j] = cv2.pointPolygonTest(ring[:, None], (float(x), float(y)), False)
    return results


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("padding", [True, False])
def test_random_pieces_point_by_point(rule, side, padding):
    """The rules as the specification says them, one candidate after the other."""
    rng = np.random.default_rng(side)
    for _ in range(30):
        outline, *holes = (
            rng.integers(0, 60, (n, 2)).astype(np.int32) for n in (12, 5, rng.integers(1, 6))
        )
        step = int(rng.integers(2, 9))
        expected = []
        for x in range(outline[:, 0].min(), outline[:, 0].max() + 1, step):
            for y in range(outline[:, 1].min(), outline[:, 1].max() + 1, step):
                fits = padding or (x + side <= 58 and y + side <= 57)
                if fits and accepted(x, y, side, rule, outline, holes):
                    expected.append([x, y])
        found = grid(
            outline, *holes, side=side, step=step, size=(58, 57), rule=rule, padding=padding
        )
        assert found == expected


def accepted(x, y, side, rule, outline, holes):
    def test(ring, px, py):
        return cv2.pointPolygonTest(ring[:, None], (float(px), float(py)), False)

    cx, cy, s = x + side // 2, y + side // 2, int((side // 2) * 0.5)
    four = [test(outline, cx + dx, cy + dy) >= 0 for dx in (-s, s) for dy in (-s, s)]
    tissue = {
        "basic": test(outline, x, y) >= 0,
        "center": test(outline, cx, cy) >= 0,
        "four_pt": any(four),
        "four_pt_hard": all(four),
    }[rule]
    return tissue and not any(test(hole, x + side / 2, y + side / 2) > 0 for hole in holes)


def test_polygons_of_any_size_stay_exact():
    # level-0 sizes of the largest slides: a diagonal of slope 1 / 3 through whole points
    ring = np.array([[0, 0], [300_000, 100_000], [0, 100_000]], np.int32)
    lattice = Lattice(299_990, 99_990, 1, 1, 12, 12)
    expected = [[(x <= 3 * y) and y <= 100_000 for y in range(99_990, 100_002)]
                for x in range(299_990, 300_002)]  # fmt: skip
    np.testing.assert_array_equal(inside(ring, lattice), expected)
