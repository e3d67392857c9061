"""The user's own tissue: masks, and GeoJSON as people and QuPath write it."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.wsi.stage_runs import PATCHES, ring, run_stages
from wsi.given_tissue import read_given_tissue
from wsi.grid import lay
from wsi.outcome import SlideError
from wsi.outlines import area, read_outlines
from wsi.reader import Slide
from wsi.reader import slide as slide_module
from wsi.tissue_area import AreaOf

WIDTH, HEIGHT = 6000, 4000
WHOLE = (0, 0, WIDTH, HEIGHT)


@pytest.fixture
def read(tmp_path):
    """Return a function that writes JSON to a file and reads it as the tissue of a slide."""

    def read(content, bounds=WHOLE, name="S1.geojson"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_given_tissue(path, (WIDTH, HEIGHT), bounds)

    return read


@pytest.fixture
def read_mask(tmp_path):
    """Return a function that writes a picture and reads it as the tissue of a slide."""

    def read(mask, bounds=WHOLE, name="mask.png", dimensions=(WIDTH, HEIGHT)):
        cv2.imwrite(str(tmp_path / name), mask)
        return read_given_tissue(tmp_path / name, dimensions, bounds)

    return read


def boxes(pieces):
    return [[*piece[0].min(axis=0).tolist(), *piece[0].max(axis=0).tolist()] for piece in pieces]


def assert_boxes(pieces, expected, within):
    np.testing.assert_allclose(boxes(pieces), expected, rtol=0, atol=within)


def mask_of(height, width, value=255):
    """Tissue on the left half of the upper half, with a hole; a second piece on the lower right."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 2] = value
    mask[height // 8 : height // 4, width // 8 : width // 4] = 0
    mask[height * 3 // 4 :, width * 3 // 4 :] = value
    return mask


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def of_class(name):
    return {"classification": {"name": name, "color": [200, 0, 0]}}


# Masks


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize(("height", "width"), [(80, 120), (400, 600), (4000, 6000)])
def test_a_mask_of_any_size_and_any_value_is_the_same_tissue(read_mask, height, width, value):
    first, second = read_mask(mask_of(height, width, value))
    quarter = 0.25 * WIDTH / width  # of a mask pixel: outlines run that far inside
    assert_boxes([first, second], [[0, 0, 3000, 2000], [4500, 3000, 6000, 4000]], quarter)
    assert_boxes([first[1:]], [[750, 500, 1500, 1000]], quarter)


@pytest.mark.parametrize("kind", ["rgb", "rgba", "16-bit", "tiff"])
def test_a_mask_of_any_picture_kind(read_mask, kind):
    grey = mask_of(400, 600)
    mask = {
        "rgb": np.stack([grey // 255, 0 * grey, 0 * grey], axis=-1),  # tissue is (0, 0, 1)
        "rgba": np.dstack([grey, grey, grey, np.full_like(grey, 255)]),  # opaque everywhere
        "16-bit": grey.astype(np.uint16),  # 255 of 65,535
        "tiff": grey,
    }[kind]
    pieces = read_mask(mask, name="mask.tif" if kind == "tiff" else "mask.png")
    assert_boxes(pieces, [[0, 0, 3000, 2000], [4500, 3000, 6000, 4000]], 2.5)


@pytest.mark.parametrize(("height", "width"), [(600, 400), (400, 400), (400, 640)])
def test_a_mask_of_another_shape_is_refused(read_mask, height, width):
    with pytest.raises(SlideError, match=f"is {width} x {height} pixels and the slide 6000 x 4000"):
        read_mask(mask_of(height, width))


def test_a_mask_may_be_off_by_the_rounding_of_its_size(read_mask):
    (piece,) = read_mask(np.full((83, 125), 1, np.uint8))  # 48 and 48.2 times smaller
    assert_boxes([piece], [[0, 0, 6000, 4000]], 12.1)


def test_a_mask_of_nothing_and_one_that_is_no_picture_are_refused(read_mask, tmp_path):
    with pytest.raises(SlideError, match=r"mask.png outlines no tissue; mend it, or leave column"):
        read_mask(np.zeros((400, 600), np.uint8))
    for name, content in (("text.png", b"no picture"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SlideError, match=f"{name} is no picture and no .geojson") as error:
            read_given_tissue(tmp_path / name, (WIDTH, HEIGHT), WHOLE)
        assert error.value.kind == "no_tissue"


def test_a_mask_is_of_the_scanned_area_or_of_the_whole_plane(read_mask):
    bounds = (1000, 2000, 2000, 1000)  # 2 : 1, the plane is 3 : 2
    of_bounds = np.zeros((100, 200), np.uint8)
    of_bounds[:50, :50] = 1
    assert_boxes(read_mask(of_bounds, bounds), [[1000, 2000, 1500, 2500]], 2.5)
    of_plane = np.zeros((200, 300), np.uint8)
    of_plane[100:150, 50:100] = 1
    assert_boxes(read_mask(of_plane, bounds), [[1000, 2000, 2000, 3000]], 5)


# GeoJSON

SQUARE = ring(1000, 500, 3000, 2500)
HOLE = ring(1500, 1000, 2000, 1500)
OTHER = ring(4000, 2000, 5500, 3500)
EXPECTED = [[1000, 500, 3000, 2500], [4000, 2000, 5500, 3500]]
BOTH = feature(polygon(SQUARE, HOLE)), feature(polygon(OTHER))


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": list(BOTH)},
        list(BOTH),  # QuPath, "pretty" export without a collection
        feature({"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [OTHER]]}),
        {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [OTHER]]},
        [polygon(SQUARE, HOLE), polygon(OTHER)],
        {
            "type": "GeometryCollection",
            "geometries": [
                polygon(SQUARE, HOLE),
                {"type": "Point", "coordinates": [5, 5]},
                polygon(OTHER),
            ],
        },
        [
            *BOTH,
            feature({"type": "LineString", "coordinates": [[0, 0], [9, 9]]}),
            feature(polygon(ring(0, 0, 50, 50)), **of_class("Ignore*")),
            feature(polygon(ring(0, 0, 50, 50)), **of_class("Pen")),
            feature(polygon(ring(0, 0, 50, 50)), **of_class("Fold")),
        ],
        [
            {"type": "Feature", "id": "a", "geometry": polygon(SQUARE, HOLE)},  # no properties
            feature(polygon(OTHER), objectType="annotation", classification=None),
        ],
        [
            {"type": "Feature", "geometry": polygon(SQUARE, HOLE), "properties": None},
            feature(polygon(OTHER), **of_class("Tumor")),
        ],
        [polygon([[*point, 0.0] for point in SQUARE], HOLE), polygon(OTHER)],  # with a z
        [polygon(SQUARE[:-1], HOLE[:-1]), polygon(OTHER[:-1])],  # rings left open
    ],
    ids=["collection", "list", "feature", "geometry", "geometries", "geometry collection",
         "others passed over", "no properties", "null properties", "z", "open rings"],
)  # fmt: skip
def test_geojson_as_people_write_it(read, content):
    first, second = read(content)
    assert boxes([first, second]) == EXPECTED
    assert (area(first), area(second)) == (4e6 - 250_000, 1500**2)


def test_a_byte_order_mark_and_letters_of_other_languages_do_no_harm(read):
    text = json.dumps(feature(polygon(SQUARE), **of_class("Gewebe größer")), ensure_ascii=False)
    assert boxes(read("\ufeff" + text)) == EXPECTED[:1]


def test_numbers_may_be_fractions(read):
    (piece,) = read(polygon([[10.25, 20.5], [500.75, 20.5], [500.75, 400.125], [10.25, 20.5]]))
    np.testing.assert_array_equal(piece[0], [[10.25, 20.5], [500.75, 20.5], [500.75, 400.125]])


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1, 2]", "7", '"text"', "null", '{"features": []}', '{"type": "Polygon"}',
     '{"type": "Polygon", "coordinates": [[[0, 0], [9, 9]]]}',
     '{"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [0, 0]]]}',
     '{"type": "Polygon", "coordinates": [[0, 0], [9, 0], [9, 9], [0, 0]]}',
     '{"type": "Polygon", "coordinates": [[["a", 0], [9, 0], [9, 9], ["a", 0]]]}',
     '{"type": "Polygon", "coordinates": [[[NaN, 0], [9, 0], [9, 9], [NaN, 0]]]}',
     '{"type": "Polygon", "coordinates": []}',
     '{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": null}]}'],
)  # fmt: skip
def test_what_is_no_geojson_is_an_outcome_in_words(read, content):
    with pytest.raises(SlideError, match=r"S1.geojson is not valid GeoJSON \(.+\); mend") as error:
        read(content)
    assert error.value.kind == "no_tissue"


def test_binary_content_is_no_geojson(tmp_path):
    (tmp_path / "S1.geojson").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(SlideError, match="is not valid GeoJSON"):
        read_given_tissue(tmp_path / "S1.geojson", (WIDTH, HEIGHT), WHOLE)


@pytest.mark.parametrize(
    "content",
    [[], {"type": "FeatureCollection", "features": []},
     feature(polygon(SQUARE), **of_class("Ignore*")), {"type": "Point", "coordinates": [1, 1]}],
)  # fmt: skip
def test_geojson_without_tissue_says_so(read, content):
    with pytest.raises(SlideError, match=r"S1.geojson outlines no tissue; mend it, or leave"):
        read(content)


@pytest.mark.parametrize("box", [(6100, 10, 7000, 900), (-900, 10, 0, 900), (10, 4000, 90, 4200)])
def test_tissue_outside_the_slide_is_of_another_slide(read, box):
    with pytest.raises(
        SlideError, match=r"but the slide is 6000 x 4000 pixels: it belongs to anot"
    ):
        read(polygon(ring(*box)))


# What it becomes


def corners(pieces, **changed):
    tissue = AreaOf(pieces, WIDTH, HEIGHT, 32)
    return lay(
        pieces, tissue, 1024, PATCHES | changed, dimensions=(WIDTH, HEIGHT), bounds=WHOLE,
        clam_level=None,
    ).tolist()  # fmt: skip


def test_overlapping_outlines_are_tissue_where_they_overlap(read):
    """In QuPath the tumour is drawn inside the tissue, and both are exported."""
    whole = feature(polygon(ring(0, 0, 4096, 2048)), **of_class("Tissue"))
    tumour = feature(polygon(ring(1024, 0, 3072, 2048)), **of_class("Tumor"))
    expected = corners(read([whole]))
    assert len(expected) == 8
    assert corners(read([whole, tumour])) == expected
    assert corners(read([whole, whole])) == expected
    with_hole = feature(polygon(ring(0, 0, 4096, 2048), ring(1024, 0, 3072, 2048)))
    assert len(corners(read([with_hole]))) == 4
    assert corners(read([with_hole, tumour])) == expected


def test_outlines_are_cut_at_the_edges_of_the_slide(read):
    # a triangle with its tip 6000 px left of the slide: its sides keep their slope
    left = ring(-900, 100, -100, 900)
    first, second = read([polygon([[-6000, 2000], [6000, 0], [6000, 4000], [-6000, 2000]], left),
                          polygon(SQUARE, HOLE)])  # fmt: skip
    assert len(first) == 1  # the hole was outside
    assert sorted(first[0].tolist()) == [[0, 1000], [0, 3000], [6000, 0], [6000, 4000]]
    assert area(first) == (2000 + 4000) / 2 * 6000
    assert boxes([second]) == EXPECTED[:1]
    assert boxes(read([polygon(ring(-9, -9, -1, -1)), polygon(SQUARE)])) == EXPECTED[:1]


@pytest.mark.parametrize("rule", ["fraction", "basic", "four_pt"])
@pytest.mark.parametrize("grid", ["slide", "contour"])
def test_patches_of_tissue_drawn_over_the_edges_begin_on_the_slide(read, grid, rule):
    pieces = read(polygon(ring(-700, -300, 9000, 9000)))
    coords = np.array(corners(pieces, grid=grid, rule=rule))
    assert (coords >= 0).all()
    assert (coords < (WIDTH, HEIGHT)).all()
    assert len(coords) == 6 * 4


@pytest.fixture(scope="module")
def drawn_slide(make_slide, glass, noise, tmp_path_factory):
    """A slide with two round pieces of tissue, one with a hole."""
    rgb, shape = glass(4096, 6144), np.zeros((4096, 6144), np.uint8)
    cv2.ellipse(shape, (2100, 2050), (1700, 1500), 20, 0, 360, 1, -1)
    cv2.ellipse(shape, (2000, 2300), (500, 350), -30, 0, 360, 0, -1)
    cv2.ellipse(shape, (5100, 1500), (700, 900), 0, 0, 360, 1, -1)
    grain = np.tile(noise(512, 512, seed=4)[..., :1] // 8, (8, 12, 1))
    tissue = np.array((170, 90, 150), np.uint8) + grain
    rgb[shape > 0] = tissue[shape > 0]
    return make_slide(tmp_path_factory.mktemp("given") / "slide.tiff", rgb)


def test_our_own_file_given_back_gives_the_same_tissue_and_the_same_patches(drawn_slide, tmp_path):
    found = run_stages(drawn_slide, tmp_path / "found")
    assert found.laid.ok
    assert any(len(f["geometry"]["coordinates"]) > 1 for f in found.content["features"])
    given = run_stages(drawn_slide, tmp_path / "given", given_tissue=found.tissue)
    assert given.content["features"] == found.content["features"]
    assert given.facts["tissue_mm2"] == found.facts["tissue_mm2"] > 0
    assert given.facts["method"] == f"given: {found.tissue}"
    for level in (1, 2):
        (before, _), (after, _) = found.level(level), given.level(level)
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    for name in ("tissue/S1.jpg", "patches/S1.jpg"):
        assert (tmp_path / "given" / name).read_bytes() == (tmp_path / "found" / name).read_bytes()


def test_our_own_file_edited_gives_what_is_left(drawn_slide, tmp_path):
    found = run_stages(drawn_slide, tmp_path / "found")
    edited = found.content
    largest = max(edited["features"], key=lambda f: f["properties"]["area_mm2"])
    edited["features"] = [largest]
    (tmp_path / "edited.geojson").write_text(json.dumps(edited))
    given = run_stages(drawn_slide, tmp_path / "given", given_tissue=tmp_path / "edited.geojson")
    assert given.content["features"] == [largest]
    assert given.facts["tissue_mm2"] == pytest.approx(largest["properties"]["area_mm2"], abs=1e-3)
    kept, before = (set(map(tuple, one.coords.tolist())) for one in (given, found))
    assert kept < before


def test_tissue_given_is_taken_where_none_would_be_found(make_slide, glass, tmp_path):
    slide = make_slide(tmp_path / "glass.tiff", glass(4096, 6144))
    mask = np.zeros((64, 96), np.uint8)
    mask[16:32, 32:64] = 1  # 1024..2048 of y, 2048..4096 of x
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert run_stages(slide, tmp_path / "a").found.kind == "no_tissue"
    given = run_stages(slide, tmp_path / "b", given_tissue=tmp_path / "mask.png")
    assert given.laid.ok
    assert given.coords.tolist() == [[2048, 1024], [3072, 1024]]
    assert (given.level(2)[0]["tissue_fraction"] > 0.95).all()
    assert given.facts["tissue_mm2"] == pytest.approx(2048 * 1024 * (0.25 / 1000) ** 2, rel=0.05)
    assert given.facts["check"] == ""


def test_a_file_that_cannot_be_used_is_the_outcome_of_its_slide(make_slide, glass, tmp_path):
    slide = make_slide(tmp_path / "glass.tiff", glass(4096, 6144))
    (tmp_path / "other.geojson").write_text(json.dumps(polygon(ring(9000, 9000, 9900, 9900))))
    given = run_stages(slide, tmp_path / "b", given_tissue=tmp_path / "other.geojson")
    assert (given.found.kind, given.laid) == ("no_tissue", given.found)
    assert "it belongs to another slide or level" in given.found.reason
    assert len(given.coords) == 0


# Slides whose scanned area does not begin at (0, 0)

CORNER = (1536, 1024)
BOUNDS = (*CORNER, 4096, 2560)


@pytest.fixture
def with_bounds(monkeypatch):
    """Let every slide say what MIRAX says: a part of the plane was scanned."""
    plain = slide_module.open_file

    def open_file(*arguments):
        opened = plain(*arguments)
        names = (f"openslide.bounds-{name}" for name in ("x", "y", "width", "height"))
        bounds = dict(zip(names, map(str, BOUNDS), strict=True))
        return replace(opened, properties={**opened.properties, **bounds})

    monkeypatch.setattr(slide_module, "open_file", open_file)


def on_plane(make_slide, glass, path):
    """Tissue at (2048, 1536) to (4096, 3072); a second one outside what was scanned."""
    rgb = glass(4096, 6144)
    rgb[1536:3072, 2048:4096] = rgb[:700, :1200] = (190, 110, 170)
    return make_slide(path, rgb)


def test_outlines_count_from_the_scanned_corner_and_patches_from_level_0(
    with_bounds, make_slide, glass, tmp_path
):
    slide = on_plane(make_slide, glass, tmp_path / "a.tiff")
    with Slide(slide) as opened:
        assert opened.bounds == BOUNDS
    found = run_stages(slide, tmp_path / "found", min_tissue=0.2)
    (outlined,) = found.content["features"]  # what was not scanned has none
    low = np.array(outlined["geometry"]["coordinates"][0]).min(axis=0)
    np.testing.assert_allclose(low, (2048 - 1536, 1536 - 1024), atol=24)
    regions, facts = read_outlines(found.tissue)
    np.testing.assert_allclose(boxes(regions["Tissue"]), [[2048, 1536, 4096, 3072]], atol=24)
    assert facts["bounds"] == list(BOUNDS)
    # columns from 1536, rows from 1024 by 1024: the first column and row are half full
    assert found.coords.tolist() == [[x, y] for x in (1536, 2560, 3584) for y in (1024, 2048)]
    fractions = found.level(2)[0]["tissue_fraction"]
    np.testing.assert_allclose(fractions, [0.25, 0.5, 0.5, 1, 0.25, 0.5], atol=0.05)


def test_given_outlines_and_masks_count_from_the_scanned_corner(
    with_bounds, make_slide, glass, tmp_path
):
    slide = on_plane(make_slide, glass, tmp_path / "a.tiff")
    drawn = polygon(ring(1024, 512, 2048, 1536))  # from the corner: a viewer's numbers
    (tmp_path / "own.geojson").write_text(json.dumps(drawn))
    mask = np.zeros((640, 1024), np.uint8)  # of the scanned area, 4 times smaller
    mask[128:384, 256:512] = 255
    cv2.imwrite(str(tmp_path / "own.png"), mask)
    for name in ("own.geojson", "own.png"):
        given = run_stages(slide, tmp_path / name[-3:], given_tissue=tmp_path / name)
        regions, _ = read_outlines(given.tissue)
        assert_boxes(regions["Tissue"], [[2560, 1536, 3584, 2560]], 1)
        assert given.coords.tolist() == [[2560, 1024], [2560, 2048]]
        again = run_stages(slide, tmp_path / "again", given_tissue=given.tissue)
        assert again.content["features"] == given.content["features"]


def test_the_picture_of_the_grid_shows_the_scanned_area(with_bounds, make_slide, glass, tmp_path):
    slide = on_plane(make_slide, glass, tmp_path / "a.tiff")
    found = run_stages(slide, tmp_path / "found", min_tissue=0.2)
    picture = cv2.imread(str(tmp_path / "found/patches/S1.jpg")).astype(int)
    assert picture.shape == (640, 1024, 3)  # 4096 x 2560, 4 times smaller
    b, g, r = np.moveaxis(picture, -1, 0)
    rows, columns = np.nonzero((b > 80) & (r < 60) & (g < 110))  # the grid's dark blue
    assert len(found.coords) == 6
    np.testing.assert_allclose((columns.min(), columns.max()), (0, 768), atol=2)
    np.testing.assert_allclose((rows.min(), rows.max()), (0, 512), atol=2)
