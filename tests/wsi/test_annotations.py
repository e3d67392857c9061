"""Annotated regions: which patches lie in them, and what cannot be used."""

import json

import cv2
import numpy as np
import pytest

from wsi.annotations import annotated_share, read_annotations
from wsi.storage import Outcome, load_npz, read_outcome, write_h5

SIDE, FOOT = 4096, 512
COORDS = np.array([(x, y) for y in range(0, SIDE, FOOT) for x in range(0, SIDE, FOOT)])


def square(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def exact_share(pieces):
    """Area of the overlap of rectangles (outline less holes) with each patch, worked out."""
    share = np.zeros(len(COORDS))
    for piece in pieces:
        for number, ring in enumerate(piece):
            low = np.maximum(COORDS, ring.min(0))
            high = np.minimum(COORDS + FOOT, ring.max(0))
            overlap = np.prod(np.maximum(high - low, 0), axis=1) / FOOT**2
            share += overlap if number == 0 else -overlap
    return share


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [[square(700, 300, 2900, 1500)]],
        [[square(0, 0, 4096, 4096), square(1000, 1000, 3000, 2000)]],
        [[square(100, 100, 1500, 900)], [square(2000, 2000, 2600, 4096)]],
    ],
)
def test_shares_are_those_of_the_areas(pieces):
    found = annotated_share(pieces, COORDS, FOOT)
    np.testing.assert_allclose(found, exact_share(pieces), atol=0.07)
    clear = np.abs(exact_share(pieces) - 0.5) > 0.07
    np.testing.assert_array_equal(found[clear] > 0.5, exact_share(pieces)[clear] > 0.5)


@pytest.fixture
def features(tmp_path):
    """Patches of a slide whose scanned area begins at 100, 200."""
    facts = {"width0": SIDE + 300, "height0": SIDE + 300, "bounds": [100, 200, SIDE, SIDE],
             "footprint0": FOOT}  # fmt: skip
    arrays = {
        "features": np.ones((len(COORDS), 2), np.float32),
        "coords": COORDS + np.array([100, 200]),
    }
    write_h5(tmp_path / "S.h5", Outcome("S", "extract_features"), arrays, facts)
    return tmp_path / "S.h5"


def read(features, given):
    outputs = {"outlines": features.with_name("S.geojson"), "labels": features.with_name("S.npz")}
    read_annotations(
        slide_id="S", features=str(features), given=str(given),
        **{name: str(path) for name, path in outputs.items()},
    )  # fmt: skip
    return load_npz(outputs["labels"])[0].get("label"), outputs["outlines"]


def qupath(path, *rings, kind="Tumor"):
    polygons = [[[*ring.tolist(), ring[0].tolist()]] for ring in rings]
    content = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": polygon},
         "properties": {"classification": {"name": kind}}}
        for polygon in polygons
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": content}))
    return path


def test_qupaths_regions_count_from_the_corner_of_what_was_scanned(features, tmp_path):
    given = qupath(tmp_path / "a.geojson", square(0, 0, 1024, 512))
    label, outlines = read(features, given)
    assert np.flatnonzero(label).tolist() == [0, 1]
    content = json.loads(outlines.read_text())
    assert content["features"][0]["geometry"]["coordinates"][0][2] == [1024, 512]
    assert content["features"][0]["properties"]["classification"]["name"] == "Annotated"


def test_a_mask_of_the_scanned_area(features, tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[-8:, -16:] = 255  # the last two patches
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    label, _ = read(features, tmp_path / "mask.png")
    assert np.flatnonzero(label).tolist() == [62, 63]


def test_a_slide_without_regions_is_negative_throughout(features, tmp_path):
    label, outlines = read(features, qupath(tmp_path / "none.geojson"))
    assert len(label) == 64
    assert not label.any()
    assert read_outcome(outlines).ok


def test_a_file_that_cannot_be_used_is_an_outcome_that_says_why(features, tmp_path):
    far = qupath(tmp_path / "far.geojson", square(90_000, 90_000, 91_000, 91_000))
    label, outlines = read(features, far)
    assert label is None
    outcome = read_outcome(outlines)
    assert outcome.kind == "no_annotations"
    assert "outlines regions from [90100, 90200] to" in outcome.reason
    assert "leave column annotations of slides.csv empty" in outcome.reason


def test_a_slide_that_failed_before_passes_on_its_outcome(features, tmp_path):
    failed = Outcome("S", "find_tissue", "failed", "slide S: no tissue.", "no_tissue")
    empty = {"features": np.zeros((0, 0), np.float32), "coords": np.zeros((0, 2), np.int64)}
    write_h5(features, failed, empty)
    label, outlines = read(features, qupath(tmp_path / "a.geojson", square(0, 0, 99, 99)))
    assert label is None
    assert read_outcome(outlines).kind == "no_tissue"
