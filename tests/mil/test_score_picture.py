"""Scores on a canvas and on a picture, from coordinates alone."""

import json

import cv2
import numpy as np
import pytest

from mil.heatmap_picture import GAP, HEAD
from mil.problems import InputError
from mil.score_picture import draw_scores

SIDE = 100
CORNERS = np.array([[7000, 900], [9000, 900], [7000, 2900], [9000, 2900]])  # 2 x 2, side 2000
TOP = HEAD + 46  # under the caption


def drawn(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def cell(picture, column, x, y):
    """Colour in the middle of a quarter of a map."""
    left = GAP + column * (SIDE + GAP)
    return picture[TOP + 25 + 50 * y, left + 25 + 50 * x]


def test_a_bag_without_a_slide_is_drawn_at_its_places(tmp_path):
    path = tmp_path / "bag.jpg"
    contribution, labels = np.array([1.0, 0, 0, -1.0]), np.array([1, -1, 0, 0])
    draw_scores(path, CORNERS, 2000, contribution=contribution, labels=labels, side=SIDE)
    picture = drawn(path)
    raises, lowers, none = (cell(picture, 0, *at) for at in ((0, 0), (1, 1), (1, 0)))
    assert raises[0] - raises[2] > 60
    assert lowers[2] - lowers[0] > 60
    assert np.ptp(none) < 20
    positive, negative, unknown = (cell(picture, 1, *at) for at in ((0, 0), (1, 1), (1, 0)))
    assert positive[0] > positive[2] + 60
    assert negative[2] > negative[0] + 60
    assert np.ptp(unknown) < 10


def test_the_size_does_not_depend_on_the_slide(tmp_path):
    given = {"attention": np.arange(4), "side": SIDE}
    draw_scores(tmp_path / "small.jpg", CORNERS, 2000, **given)
    draw_scores(tmp_path / "large.jpg", CORNERS * 10**6, 2000 * 10**6, **given)
    small, large = drawn(tmp_path / "small.jpg"), drawn(tmp_path / "large.jpg")
    np.testing.assert_array_equal(small, large)


def test_on_a_thumbnail_the_plain_slide_stands_first(tmp_path):
    cv2.imwrite(str(tmp_path / "slide.png"), np.full((40, 40, 3), (20, 20, 220), np.uint8))
    draw_scores(
        tmp_path / "on.jpg",
        CORNERS - [7000, 900],
        2000,
        attention=np.array([1, 2, 3, 4]),
        thumbnail=tmp_path / "slide.png",
        extent=(4000, 4000),
        side=SIDE,
    )
    picture = drawn(tmp_path / "on.jpg")
    assert cell(picture, 0, 0, 0)[0] > 180 > 90 > cell(picture, 0, 0, 0)[2]
    assert cell(picture, 1, 1, 1)[0] > cell(picture, 1, 0, 0)[0] + 40  # yellow and violet


@pytest.mark.parametrize("on_slide", [False, True])
def test_annotations_are_outlined_where_they_are(tmp_path, on_slide):
    corner = np.array([0, 0]) if on_slide else np.array([7000, 900])
    ring = (np.array([[0, 0], [2000, 0], [2000, 2000], [0, 2000], [0, 0]]) + corner + 1000).tolist()
    path = tmp_path / "drawn.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    slide = {}
    if on_slide:
        cv2.imwrite(str(tmp_path / "slide.png"), np.full((40, 40, 3), 230, np.uint8))
        slide = {"thumbnail": tmp_path / "slide.png", "extent": (4000, 4000)}
    coords, given = CORNERS - [7000, 900] + corner, {"attention": np.zeros(4), "side": SIDE}
    pictures = {}
    for name, more in (("without", {}), ("with", {"annotations": path})):
        draw_scores(tmp_path / f"{name}.jpg", coords, 2000, **given, **slide, **more)
        pictures[name] = drawn(tmp_path / f"{name}.jpg")
    changed = np.abs(pictures["with"] - pictures["without"]).sum(2) > 100
    for column in range(1 + on_slide):
        left = GAP + column * (SIDE + GAP)
        own = changed[TOP : TOP + SIDE, left : left + SIDE]
        assert own[25, 30:70].all()  # its upper and its left side, a quarter into the map
        assert own[30:70, 25].all()
        assert not own[40:60, 40:60].any()
        assert not own[:15].any()


def test_what_cannot_be_drawn_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="nothing to draw; give attention"):
        draw_scores(tmp_path / "no.jpg", CORNERS, 2000)
    with pytest.raises(InputError, match=r"contribution has the shape \(4, 2\); 4 coordinates"):
        draw_scores(tmp_path / "no.jpg", CORNERS, 2000, contribution=np.zeros((4, 2)))
    with pytest.raises(InputError, match="a thumbnail without extent"):
        draw_scores(tmp_path / "no.jpg", CORNERS, 2, labels=np.ones(4), thumbnail="slide.png")
