"""Outlines from the forms of GeoJSON that viewers write."""

import json

import pytest

from mil.annotations import read_outlines
from mil.problems import InputError

SQUARE = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]
HOLE = [[2, 2], [2, 4], [4, 4], [2, 2]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
TWO = {"type": "MultiPolygon", "coordinates": [[HOLE], [SQUARE]]}
POINT = {"type": "Point", "coordinates": [3, 3]}


def feature(geometry):
    return {"type": "Feature", "geometry": geometry, "properties": {}}


@pytest.mark.parametrize(
    ("content", "rings"),
    [
        (POLYGON, [SQUARE, HOLE]),
        (feature(TWO), [HOLE, SQUARE]),
        ([feature(POLYGON), feature(POINT), feature(TWO)], [SQUARE, HOLE, HOLE, SQUARE]),
        ({"type": "FeatureCollection", "features": [feature(POLYGON)]}, [SQUARE, HOLE]),
    ],
)
def test_rings_of_all_polygons(tmp_path, content, rings):
    path = tmp_path / "drawn.geojson"
    path.write_text(json.dumps(content))
    assert [ring.tolist() for ring in read_outlines(path)] == rings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "is no GeoJSON of polygons"),
        ('{"type": "Polygon"}', "is no GeoJSON of polygons"),
        (json.dumps([feature(POINT)]), "no polygon in it"),
    ],
)
def test_other_files_are_a_sentence(tmp_path, text, said):
    path = tmp_path / "drawn.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"drawn.geojson: {said}"):
        read_outlines(path)
