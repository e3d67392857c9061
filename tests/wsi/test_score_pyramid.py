"""Scores over a slide as a pyramid that OpenSlide opens."""

import json

import numpy as np
import openslide
import pytest
import tifffile

from wsi.score_pyramid import OPACITY, write_score_pyramid, write_score_pyramids

WIDTH, HEIGHT, FOOT = 6144, 4096, 512
GREY = round(0.299 * 180 + 0.587 * 120 + 0.114 * 150)  # of the slide's colour
RED, BLUE = [200, 30, 40], [20, 60, 210]


@pytest.fixture
def slide(tmp_path):
    """A grey slide of 0.5 um a pixel."""
    rgb = np.full((HEIGHT, WIDTH, 3), (180, 120, 150), np.uint8)
    tifffile.imwrite(
        tmp_path / "S.tiff", rgb, tile=(256, 256), compression="zlib", photometric="rgb",
        resolution=(20_000, 20_000), resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    return tmp_path / "S.tiff"


def squares(path, *entries):
    features = []
    for x, y, colour in entries:
        ring = [[x, y], [x + FOOT, y], [x + FOOT, y + FOOT], [x, y + FOOT], [x, y]]
        features.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
             "properties": {"color": colour, "measurements": {"attention": 0.5}}}
        )  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def mixed(colour):
    return GREY * (1 - OPACITY) + np.array(colour) * OPACITY


def test_openslide_opens_it_and_patches_lie_where_they_do_on_the_slide(slide, tmp_path):
    scores = squares(tmp_path / "S.geojson", (512, 1024, RED), (5632, 3584, BLUE))
    write_score_pyramid(slide=str(slide), scores=str(scores), pyramid=str(tmp_path / "out.tiff"))
    with openslide.OpenSlide(tmp_path / "out.tiff") as opened:
        assert opened.properties["openslide.vendor"] == "generic-tiff"
        assert opened.dimensions == (WIDTH // 16, HEIGHT // 16)  # a patch is 32 pixels wide
        assert opened.level_dimensions == ((384, 256), (192, 128))
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.5 * 16, rel=1e-4)
        for level, step in ((0, 16), (1, 32)):
            shape = opened.level_dimensions[level]
            seen = np.asarray(opened.read_region((0, 0), level, shape))[..., :3].astype(float)
            for (x, y), expected in (
                ((512 + 256, 1024 + 256), mixed(RED)),
                ((5632 + 256, 3584 + 256), mixed(BLUE)),
                ((3000, 500), [GREY] * 3),
            ):
                np.testing.assert_allclose(seen[y // step, x // step], expected, atol=6)


def test_where_patches_overlap_it_is_their_mean(slide, tmp_path):
    scores = squares(tmp_path / "S.geojson", (1024, 0, RED), (1280, 0, BLUE))
    write_score_pyramid(slide=str(slide), scores=str(scores), pyramid=str(tmp_path / "out.tiff"))
    with openslide.OpenSlide(tmp_path / "out.tiff") as opened:
        seen = np.asarray(opened.read_region((0, 0), 0, (384, 256)))[..., :3].astype(float)
    both = mixed((np.array(RED) + BLUE) / 2)
    for x, expected in ((1152, mixed(RED)), (1408, both), (1664, mixed(BLUE))):
        np.testing.assert_allclose(seen[16, x // 16], expected, atol=6)


def test_the_same_scores_give_the_same_bytes_and_a_folder_gives_a_file_a_slide(slide, tmp_path):
    (tmp_path / "scores").mkdir()
    scores = squares(tmp_path / "scores/S.geojson", (512, 1024, RED))
    write_score_pyramid(slide=str(slide), scores=str(scores), pyramid=str(tmp_path / "one.tiff"))
    write_score_pyramids(
        slides={"S": str(slide), "T": "no.svs"},
        scores=str(tmp_path / "scores"),
        to=str(tmp_path / "all"),
    )
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["S.tiff"]
    assert (tmp_path / "all/S.tiff").read_bytes() == (tmp_path / "one.tiff").read_bytes()


def test_what_cannot_be_written_is_a_sentence(slide, tmp_path):
    none = squares(tmp_path / "S.geojson")
    with pytest.raises(ValueError, match="there is no patch in it"):
        write_score_pyramid(slide=str(slide), scores=str(none), pyramid=str(tmp_path / "o.tiff"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="export scores first"):
        write_score_pyramids(slides={}, scores=str(tmp_path / "empty"), to=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="no file of slide S is given"):
        write_score_pyramids(slides={}, scores=str(tmp_path), to=str(tmp_path / "out"))
