"""Scores as QuPath reads them."""

import json

import h5py
import numpy as np
import pytest
from results_tree import FOOTPRINT, heatmap_inputs, write_results

from mil.export_scores import export_scores
from mil.problems import InputError
from mil.slide_scores import SlideScores, read_attention, write_slide_scores


@pytest.fixture
def inputs(tmp_path):
    given = heatmap_inputs(write_results(tmp_path))
    kept = {name: given[name] for name in ("attention", "cohort", "root")}
    return {**kept, "to": tmp_path / "qupath"}


def with_contributions(path):
    attention = read_attention(path)
    scores = {
        slide: SlideScores(one, np.linspace(-2, 1, len(one))[:, None], towards=("risk",))
        for slide, one in attention.items()
    }
    write_slide_scores(path, scores)
    return scores


def read(path):
    return json.loads(path.read_text())


def test_a_patch_is_a_detection_with_its_measurements(inputs):
    scores = with_contributions(inputs["attention"][0])["S1"]
    export_scores(**inputs, slides=["S1"])
    content = read(inputs["to"] / "S1.geojson")
    assert content["type"] == "FeatureCollection"
    features = content["features"]
    assert len(features) == len(scores.attention)
    for feature, attention, given in zip(
        features, scores.attention, scores.contribution[:, 0], strict=True
    ):
        assert feature["type"] == "Feature"
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        measured = properties["measurements"]
        assert list(measured) == ["attention", "attention percentile", "contribution to risk"]
        assert all(type(value) is float for value in measured.values())
        assert measured["attention"] == pytest.approx(attention, rel=1e-5)
        assert measured["contribution to risk"] == pytest.approx(given, rel=1e-5)
        assert len(properties["color"]) == 3
        assert all(type(c) is int and 0 <= c <= 255 for c in properties["color"])
    red, _, blue = features[-1]["properties"]["color"]
    assert red > blue
    red, _, blue = features[0]["properties"]["color"]
    assert blue > red


def test_squares_lie_where_the_patches_do_counted_from_what_was_scanned(inputs):
    path = inputs["root"] / "features/resnet50/S1.h5"
    with h5py.File(path, "a") as file:
        file.attrs["bounds"] = [100, 40, 4096, 4096]
        coords = np.asarray(file["coords"])
    export_scores(**inputs, slides=["S1"])
    for feature, corner in zip(read(inputs["to"] / "S1.geojson")["features"], coords, strict=True):
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = np.array(feature["geometry"]["coordinates"])
        assert (ring[0] == ring[-1]).all()
        assert (ring.min(axis=0) == corner - [100, 40]).all()
        assert (ring.max(axis=0) - ring.min(axis=0) == FOOTPRINT).all()
        x, y = ring.T
        assert np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2 == FOOTPRINT**2  # it does not cross


def test_all_slides_that_were_scored_are_written_and_the_same_bytes_twice(inputs):
    export_scores(**inputs)
    scored = {slide for path in inputs["attention"] for slide in read_attention(path)}
    files = sorted(inputs["to"].glob("*"))
    assert {path.stem for path in files} == scored
    before = [path.read_bytes() for path in files]
    export_scores(**inputs)
    assert [path.read_bytes() for path in files] == before
    assert list(read(files[0])["features"][0]["properties"]["measurements"]) == [
        "attention",
        "attention percentile",
    ]


def test_what_has_no_scores_is_a_sentence(inputs):
    with pytest.raises(InputError, match=r"no scores of slide S9 of .*They hold test patients"):
        export_scores(**inputs, slides=["S9"])
    attention = read_attention(inputs["attention"][0])
    short = {slide: SlideScores(one[:-1]) for slide, one in attention.items()}
    write_slide_scores(inputs["attention"][0], short)
    with pytest.raises(InputError, match=r"slide S1: scores of 31 patches, but .* has 32"):
        export_scores(**inputs, slides=["S1"])
