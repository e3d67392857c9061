import json

import cv2
import numpy as np
import pytest
from PIL import Image

from wsi.outlines import read_outlines
from wsi.segment import segment as find
from wsi.storage import read_outcome
from wsi.tissue import find_tissue
from wsi.tissue_area import AreaOf

LIMITS = {"close_um": 30.0, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}
PARAMETERS = {"preset": "default", **LIMITS}
TISSUE, GLASS = (190, 110, 170), (242, 240, 243)
MM2 = (0.25 / 1000) ** 2  # of a level-0 pixel


def segment(rgb, mpp):
    found = find(rgb, mpp, **LIMITS)
    return found.tissue, found.pen


@pytest.fixture
def run(tmp_path):
    def run(path, scale_by="mpp", mpp=None, given=None, **changed):
        return find_tissue(
            slide_id="S1",
            slide=str(path),
            tissue=str(tmp_path / "S1.geojson"),
            thumbnail=str(tmp_path / "S1.jpg"),
            mpp=mpp,
            scale_by=scale_by,
            parameters=PARAMETERS | changed,
            given=str(given) if given else None,
        )

    return run


@pytest.fixture
def content(tmp_path):
    return lambda: json.loads((tmp_path / "S1.geojson").read_text())


def shoelace(ring):
    x, y = np.array(ring, float).T
    return abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


def drawn(glass, height=8192, width=10_240):
    """Tissue with a hole, and a second piece: areas in level-0 pixels are known."""
    rgb = glass(height, width)
    rgb[1024:5120, 1024:5120] = TISSUE
    rgb[2048:3072, 2560:4096] = GLASS
    rgb[6144:7680, 7168:9216] = TISSUE
    return rgb


@pytest.fixture(scope="module")
def drawn_slide(make_slide, glass, tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("drawn") / "a.tiff", drawn(glass))


def test_drawn_pieces_and_the_hole_are_found_with_their_areas(run, content, drawn_slide):
    assert run(drawn_slide).ok
    first, second = content()["features"]
    outline, hole = first["geometry"]["coordinates"]
    # half a pixel of the 8-um mask at each border: 16 level-0 pixels
    assert shoelace(outline) == pytest.approx(4096**2, rel=4 * 16 / 4096)
    assert shoelace(hole) == pytest.approx(1024 * 1536, rel=2 * 16 / 1024 + 2 * 16 / 1536)
    expected = (4096**2 - 1024 * 1536) * MM2
    assert first["properties"]["area_mm2"] == pytest.approx(expected, rel=0.02)
    assert second["properties"]["area_mm2"] == pytest.approx(1536 * 2048 * MM2, rel=0.03)
    assert len(second["geometry"]["coordinates"]) == 1


def test_outlines_lie_where_the_tissue_was_drawn_in_level_0_pixels(run, content, drawn_slide):
    run(drawn_slide)
    first, second = (np.array(f["geometry"]["coordinates"][0]) for f in content()["features"])
    np.testing.assert_allclose(first.min(axis=0), (1024, 1024), atol=24)
    np.testing.assert_allclose(first.max(axis=0), (5120, 5120), atol=24)
    np.testing.assert_allclose(second.min(axis=0), (7168, 6144), atol=24)
    np.testing.assert_allclose(second.max(axis=0), (9216, 7680), atol=24)


def test_the_geojson_is_what_a_viewer_expects(run, content, drawn_slide):
    run(drawn_slide)
    found = content()
    assert found["type"] == "FeatureCollection"
    for feature in found["features"]:
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        assert feature["properties"]["classification"]["name"] == "Tissue"
        for ring in feature["geometry"]["coordinates"]:
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
            assert all(isinstance(number, int) for point in ring for number in point)
            assert (np.array(ring) >= 0).all()
            assert (np.array(ring) <= (10_240, 8192)).all()


def test_facts_of_the_slide_travel_with_the_tissue(run, tmp_path, drawn_slide):
    run(drawn_slide)
    regions, facts = read_outlines(tmp_path / "S1.geojson")
    assert [len(piece) for piece in regions["Tissue"]] == [2, 1]
    assert regions["Pen"] == regions["Fold"] == []
    assert (facts["pieces"], facts["pen_mm2"], facts["fold_share"]) == (2, 0, 0)
    assert facts["tissue_mm2"] == pytest.approx((4096**2 - 1024 * 1536 + 1536 * 2048) * MM2, 0.03)
    assert (facts["format"], facts["backend"], facts["check"]) == ("generic-tiff", "tiff", "")
    assert facts["bounds"] == [0, 0, 10_240, 8192]
    np.testing.assert_allclose(facts["white"], GLASS, atol=1)
    assert (facts["width0"], facts["height0"], facts["levels"]) == (10_240, 8192, 3)
    assert facts["mpp0"] == pytest.approx(0.25)
    assert facts["parameters"] == PARAMETERS
    assert read_outcome(tmp_path / "S1.geojson").ok


def test_the_thumbnail_shows_the_slide_with_the_outline(run, tmp_path, drawn_slide):
    run(drawn_slide)
    picture = np.asarray(Image.open(tmp_path / "S1.jpg")).astype(int)
    assert picture.shape == (819, 1024, 3)
    assert abs(picture[150, 150] - TISSUE).max() < 12
    assert abs(picture[20, 20] - GLASS).max() < 12
    r, g, b = np.moveaxis(picture, -1, 0)
    green, blue = (g > r + 60) & (g > b + 20), (b > g + 30) & (g > r + 50)
    assert abs(np.argwhere(green).min(axis=0) - (102, 102)).max() < 6
    assert abs(np.argwhere(blue).min(axis=0) - (205, 256)).max() < 6


def test_the_same_slide_gives_the_same_bytes(run, tmp_path, drawn_slide):
    files = tmp_path / "S1.geojson", tmp_path / "S1.jpg"
    run(drawn_slide)
    first = [path.read_bytes() for path in files]
    run(drawn_slide)
    assert [path.read_bytes() for path in files] == first


def test_the_same_tissue_scanned_at_20x_and_40x_has_the_same_area(
    run, content, make_slide, noise, glass, tmp_path
):
    # rough-edged tissue painted at 1 um/px, then magnified to both scans
    shape = cv2.GaussianBlur(noise(1600, 2000, seed=2)[..., 0].astype(np.float32), (0, 0), 60)
    painting = glass(1600, 2000)
    painting[shape > np.median(shape)] = TISSUE
    found = []
    for mpp in (0.5, 0.25):
        size = (round(2000 / mpp), round(1600 / mpp))
        rgb = cv2.resize(painting, size, interpolation=cv2.INTER_LINEAR)
        assert run(make_slide(tmp_path / f"{mpp}.tiff", rgb, mpp=mpp, compression="jpeg")).ok
        found.append(sum(f["properties"]["area_mm2"] for f in content()["features"]))
    assert found[0] == pytest.approx(1.6, rel=0.05)
    assert found[1] == pytest.approx(found[0], rel=0.03)


@pytest.mark.parametrize("compression", ["deflate", "jpeg"])
def test_bare_glass_is_an_outcome(run, content, make_slide, glass, tmp_path, compression):
    outcome = run(make_slide(tmp_path / "a.tiff", glass(4096, 4096), compression=compression))
    assert (outcome.status, outcome.kind) == ("failed", "no_tissue")
    assert outcome.reason.startswith("slide S1: no tissue. Nothing on it is larger than 0.05 mm2")
    assert content()["features"] == []
    assert read_outcome(tmp_path / "S1.geojson") == outcome
    assert (tmp_path / "S1.jpg").stat().st_size > 0


def test_a_speck_is_no_tissue_and_the_limit_is_physical(run, content, make_slide, glass, tmp_path):
    rgb = glass(4096, 4096)
    rgb[1024:1792, 1024:1792] = TISSUE  # 768 px = 192 um: 0.037 mm2
    path = make_slide(tmp_path / "a.tiff", rgb)
    assert run(path).kind == "no_tissue"
    assert run(path, min_area_mm2=0.03).ok
    assert content()["features"][0]["properties"]["area_mm2"] == pytest.approx(0.0369, rel=0.1)


def test_a_slide_full_of_tissue_is_one_piece(run, content, make_slide, glass, tmp_path):
    rgb = glass(4096, 4096)
    rgb[:] = TISSUE
    assert run(make_slide(tmp_path / "a.tiff", rgb)).ok
    (feature,) = content()["features"]
    assert feature["properties"]["area_mm2"] == pytest.approx(4096**2 * MM2, rel=0.02)


@pytest.mark.parametrize("grey", [(205, 205, 205), (243, 232, 236)])
def test_pale_tissue_is_found_by_density_or_colour(grey):
    rgb = np.full((400, 400, 3), (243, 243, 243), np.uint8)
    rgb[100:300, 100:300] = grey
    tissue, _ = segment(rgb, 8.0)
    assert tissue[110:290, 110:290].all()
    assert tissue.sum() == pytest.approx(200**2, rel=0.03)


def test_small_holes_are_filled_and_large_ones_kept():
    rgb = np.full((400, 400, 3), GLASS, np.uint8)
    rgb[50:350, 50:350] = TISSUE
    rgb[100:115, 100:115] = GLASS  # 15 px x 8 um: 0.014 mm2
    rgb[200:220, 200:220] = GLASS  # 0.026 mm2
    tissue, _ = segment(rgb, 8.0)
    assert tissue[100:115, 100:115].all()
    assert not tissue[203:217, 203:217].any()


def test_cracks_narrower_than_the_closing_are_bridged():
    rgb = np.full((400, 400, 3), GLASS, np.uint8)
    rgb[50:350, 50:350] = TISSUE
    rgb[:, 198:201] = GLASS  # 24 um
    narrow, _ = segment(rgb, 8.0)
    assert narrow[60:340, 198:201].all()
    rgb[:, 195:207] = GLASS  # 96 um
    wide, _ = segment(rgb, 8.0)
    assert not wide[:, 197:205].any()


@pytest.mark.parametrize("ink", [(40, 90, 200), (30, 140, 60), (26, 27, 29)])
def test_pen_is_no_tissue(ink):
    rgb = np.full((500, 600, 3), GLASS, np.uint8)
    rgb[100:300, 100:300] = TISSUE
    cv2.circle(rgb, (430, 300), 120, ink, 25)
    tissue, pen = segment(cv2.GaussianBlur(rgb, (3, 3), 0), 8.0)
    assert not tissue[:, 305:].any()
    assert pen.sum() == pytest.approx(2 * np.pi * 120 * 25, rel=0.15)
    assert tissue.sum() == pytest.approx(200**2, rel=0.03)


def test_haematoxylin_is_no_pen():
    rgb = np.full((400, 400, 3), GLASS, np.uint8)
    rgb[100:300, 100:300] = (90, 60, 150)
    tissue, pen = segment(rgb, 8.0)
    assert not pen.any()
    assert tissue.sum() == pytest.approx(200**2, rel=0.03)


@pytest.mark.parametrize("edge", [0, 60, 130, 200])
def test_black_padding_is_no_tissue_nor_is_its_blurred_edge(edge):
    rgb = np.full((2000, 400, 3), GLASS, np.uint8)
    rgb[:, 250:] = 0
    rgb[:, 249] = edge
    tissue, _ = segment(rgb, 8.0)
    assert not tissue.any()


def test_polygons_give_back_the_mask_they_came_from(
    run, content, make_slide, noise, glass, tmp_path
):
    shape = cv2.GaussianBlur(noise(128, 160, seed=3)[..., 0].astype(np.float32), (0, 0), 4)
    mask = cv2.resize(shape, (5120, 4096), interpolation=cv2.INTER_LINEAR) > np.median(shape)
    rgb = glass(4096, 5120)
    rgb[mask] = TISSUE
    assert run(make_slide(tmp_path / "a.tiff", rgb)).ok
    regions, _ = read_outlines(tmp_path / "S1.geojson")
    area = AreaOf(regions["Tissue"], 5120, 4096, 32)
    again = np.diff(np.diff(area.integral, axis=0), axis=1)
    overview = cv2.resize(rgb, (160, 128), interpolation=cv2.INTER_AREA)
    expected, _ = segment(overview, 8.0)
    assert (again != expected).sum() <= 2  # rounding to whole level-0 pixels


def test_without_a_scale_only_patching_by_downsample_goes_on(
    run, content, make_slide, glass, tmp_path
):
    path = make_slide(tmp_path / "a.tiff", drawn(glass), mpp=None)
    outcome = run(path)
    assert (outcome.kind, outcome.stage) == ("no_scale", "find_tissue")
    assert run(path, scale_by="downsample").ok
    assert content()["slide"]["mpp_source"] == "assumed for tissue only"
    assert run(path, mpp=0.25).ok
    assert content()["slide"]["mpp_source"] == "slides.csv"


def test_an_unreadable_slide_writes_both_files_and_the_reason(run, tmp_path):
    (tmp_path / "a.tiff").write_bytes(b"")
    outcome = run(tmp_path / "a.tiff")
    assert outcome.kind == "unreadable"
    assert outcome.reason.startswith("slide S1: ")
    assert read_outcome(tmp_path / "S1.geojson") == outcome
    assert (tmp_path / "S1.jpg").exists()


def test_a_bug_is_no_outcome(run, drawn_slide, tmp_path):
    with pytest.raises(ValueError, match="could not convert"):
        run(drawn_slide, close_um="wide")
    assert not (tmp_path / "S1.geojson").exists()


@pytest.mark.realdata
def test_ink_on_a_real_biopsy_is_left_out_and_the_biopsy_kept(real_slides):
    rgb = np.asarray(Image.open(real_slides / "hp_slide_with_ink.jpeg").convert("RGB"))
    tissue, pen = segment(rgb, 8.0)
    r, g, b = np.moveaxis(cv2.GaussianBlur(rgb, (9, 9), 0).astype(int), -1, 0)
    ink = (b > r + 60) & (g > r)  # blue; eosin and haematoxylin have more red than green
    assert ink.sum() > 20_000
    assert tissue[ink].mean() < 0.05
    assert pen[ink].mean() > 0.8
    eosin = (r > g + 50) & (r > b + 10)
    assert tissue[eosin].mean() > 0.98
    glass = rgb.min(axis=2) > 240
    assert tissue[glass].mean() < 0.05


@pytest.mark.realdata
def test_a_real_section_without_ink_has_none(real_slides):
    rgb = np.asarray(Image.open(real_slides / "hp_slide.jpeg").convert("RGB"))
    tissue, pen = segment(rgb, 8.0)
    assert not pen.any()
    assert 0.70 < tissue.mean() < 0.80  # looked at: stroma and glands, lumens left out
