"""Tiles with the highest and the lowest scores, cut from a slide."""

import json

import cv2
import numpy as np
import pytest

from wsi.reader import Slide
from wsi.tile_gallery import GAP, LINE, SIDE, cut_tile, draw_tiles

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


@pytest.fixture(scope="module")
def slide(make_slide, tmp_path_factory):
    """Four squares of 512 pixels, each of one colour, in a row."""
    rgb = np.zeros((512, 2048, 3), np.uint8)
    for k, colour in enumerate(COLOURS):
        rgb[:, 512 * k : 512 * (k + 1)] = colour
    return make_slide(tmp_path_factory.mktemp("tiles") / "slide.tiff", rgb)


def geojson(path, values, name="contribution to risk", shift=0):
    features = []
    for k, value in enumerate(values):
        x0, x1 = 512 * k - shift, 512 * (k + 1) - shift
        ring = [[x0, 0], [x1, 0], [x1, 512], [x0, 512], [x0, 0]]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"measurements": {"attention": 1 - value, name: value}},
            }
        )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def tiles(path, count):
    """Colour in the middle of each tile of both rows."""
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    height = picture.shape[0] // 2
    return [
        [
            picture[row * height + LINE + SIDE // 2, GAP + k * (SIDE + GAP) + SIDE // 2]
            for k in range(count)
        ]
        for row in range(2)
    ]


def test_highest_and_lowest_in_their_order(slide, tmp_path):
    scores = geojson(tmp_path / "s.geojson", [0.1, 0.4, -0.2, 0.3])
    draw_tiles(slide=str(slide), scores=scores, gallery=str(tmp_path / "g.jpg"), tiles=2)
    highest, lowest = tiles(tmp_path / "g.jpg", 2)
    np.testing.assert_allclose(highest, [COLOURS[1], COLOURS[3]], atol=12)
    np.testing.assert_allclose(lowest, [COLOURS[2], COLOURS[0]], atol=12)


def test_by_another_measurement_and_of_fewer_patches_than_tiles(slide, tmp_path):
    scores = geojson(tmp_path / "s.geojson", [0.1, 0.4, -0.2, 0.3])
    gallery = tmp_path / "g.jpg"
    draw_tiles(slide=str(slide), scores=scores, gallery=str(gallery), by="attention", tiles=9)
    highest, lowest = tiles(gallery, 4)
    np.testing.assert_allclose(highest, [COLOURS[k] for k in (2, 0, 3, 1)], atol=12)
    np.testing.assert_allclose(lowest, [COLOURS[k] for k in (1, 3, 0, 2)], atol=12)


@pytest.mark.parametrize("side", [32, 512, 700])
def test_a_tile_is_what_the_slide_shows_there_at_any_size(slide, side):
    with Slide(slide) as opened:
        tile = cut_tile(opened, np.array([512, 0]), np.array([1536, 512]), side)
    assert tile.shape == (side, side, 3)
    np.testing.assert_allclose(tile[side // 2, side // 4], COLOURS[1], atol=3)
    np.testing.assert_allclose(tile[side // 2, -side // 4], COLOURS[2], atol=3)


def test_places_count_from_the_corner_of_what_was_scanned(slide, monkeypatch):
    monkeypatch.setattr(Slide, "bounds", (512, 0, 1536, 512))
    with Slide(slide) as opened:
        tile = cut_tile(opened, np.array([0, 0]), np.array([512, 512]), 64)
    np.testing.assert_allclose(tile[32, 32], COLOURS[1], atol=3)


def test_what_is_not_measured_is_a_sentence(slide, tmp_path):
    scores = geojson(tmp_path / "s.geojson", [0.1])
    given = {"slide": str(slide), "gallery": str(tmp_path / "g.jpg")}
    with pytest.raises(ValueError, match=r"no patch with a measurement 'risk'; there are \['att"):
        draw_tiles(scores=scores, by="risk", **given)
    with pytest.raises(ValueError, match="no patch with a measurement None"):
        draw_tiles(scores=geojson(tmp_path / "e.geojson", []), **given)
