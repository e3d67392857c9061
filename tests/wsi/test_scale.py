import logging

import numpy as np
import pytest

from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.scale import ReadPlan, find_mpp, plan_fine

BY_MPP = {"by": "mpp", "coarse": 4.0, "fine": 1.0}


class Pyramid(Slide):
    """A slide of which only sizes and properties matter: no file."""

    def __init__(self, width=100_000, height=80_000, downsamples=(1, 4, 16), **properties):
        self.properties = {name.replace("__", "."): value for name, value in properties.items()}
        self.level_dimensions = [(int(width / d), int(height / d)) for d in downsamples]


def plan(mpp0, downsamples, scale=BY_MPP, **size):
    return plan_fine(Pyramid(downsamples=downsamples, **size), scale, mpp0, 256)


# The worked examples of the specification (wsi 5.2): level, size read, patch, level-0 side.
@pytest.mark.parametrize(
    ("mpp0", "downsamples", "expected"),
    [
        (0.2525, (1, 4, 16), ReadPlan(1, 256, 256, 1024)),
        (0.5, (1, 4, 8), ReadPlan(0, 512, 256, 512)),
        (0.2325, (1, 2, 4), ReadPlan(2, 275, 256, 1101)),
        (0.25, (1,), ReadPlan(0, 1024, 256, 1024)),
    ],
)
def test_worked_examples_by_mpp(mpp0, downsamples, expected):
    assert plan(mpp0, downsamples) == expected


def test_a_ratio_just_below_four_is_four_and_not_three():
    # 8191 / 2047 = 4.0015, 6143 / 1535 = 4.002: read pixel for pixel, side round(256 x 4.0017)
    found = plan(0.25, (1, 4), width=8191, height=6143)
    assert (found.level, found.read_size, found.footprint) == (1, 256, 1024)
    slide = Pyramid()
    slide.level_dimensions = [(39_999, 39_999), (10_000, 10_000)]  # 3.9999
    assert plan_fine(slide, BY_MPP, 0.25, 256) == ReadPlan(1, 256, 256, 1024)


def test_a_level_that_is_a_little_too_coarse_is_never_enlarged():
    # wanted 4, the level is 4.1: beyond 2 %, so level 0 is read and reduced
    found = plan(0.25, (1, 4.1))
    assert (found.level, found.read_size, found.footprint) == (0, 1024, 1024)


@pytest.mark.parametrize(("mpp0", "footprint"), [(0.25, 1024), (0.5, 512), (1.0, 256), (1.02, 256)])
def test_the_same_tissue_has_the_same_physical_patch(mpp0, footprint):
    assert plan(mpp0, (1,)).footprint == footprint


def test_a_scan_that_is_too_coarse_is_refused_in_a_sentence():
    with pytest.raises(SlideError) as error:
        plan(1.03, (1, 4))
    assert error.value.kind == "no_scale"
    assert str(error.value).startswith(
        "the scan is too coarse: 1.03 um/px, but patches need 1.0 um/px."
    )


def test_a_scan_that_is_too_coarse_may_be_enlarged_on_request():
    found = plan(1.25, (1, 4), BY_MPP | {"allow_upsample": True})
    assert found == ReadPlan(0, 205, 256, 205)


def test_by_downsample_means_level_0_pixels_whatever_the_scan():
    scale = {"by": "downsample", "coarse": 16, "fine": 4}
    for mpp0 in (0.25, 0.5, None):
        assert plan(mpp0, (1, 4, 16), scale) == ReadPlan(1, 256, 256, 1024)
    assert plan(0.25, (1, 2, 8), scale) == ReadPlan(1, 512, 256, 1024)


def test_by_level_takes_the_true_ratio_of_the_level():
    scale = {"by": "level", "coarse": 2, "fine": 1}
    assert plan(None, (1, 4, 16), scale) == ReadPlan(1, 256, 256, 1024)
    assert plan(None, (1, 2, 8), scale) == ReadPlan(1, 256, 256, 512)


def test_by_level_refuses_a_level_that_is_not_there():
    with pytest.raises(SlideError, match=r"it has 2 level\(s\), so no level 2; patch by mpp") as e:
        plan(None, (1, 4), {"by": "level", "coarse": 2, "fine": 1})
    assert e.value.kind == "no_scale"


def test_by_level_refuses_levels_that_are_not_four_times_apart():
    with pytest.raises(SlideError, match="level 2 is 2 times coarser than level 1, not 4 times"):
        plan(None, (1, 4, 8), {"by": "level", "coarse": 2, "fine": 1})


ALL = {
    "openslide__mpp-x": "0.25",
    "openslide__mpp-y": "0.251",
    "aperio__MPP": "0.26",
    "openslide__comment": '<OME><Pixels PhysicalSizeX="265" PhysicalSizeXUnit="nm"/></OME>',
    "tiff__XResolution": "37037.037",
    "tiff__ResolutionUnit": "centimeter",
    "openslide__objective-power": "40",
}


def test_sources_are_asked_in_their_order():
    properties = dict(ALL)
    assert find_mpp(Pyramid(**properties), 0.3) == (0.3, "slides.csv")
    assert find_mpp(Pyramid(**properties)) == (pytest.approx(0.2505), "openslide.mpp")
    del properties["openslide__mpp-y"]
    assert find_mpp(Pyramid(**properties)) == (0.25, "openslide.mpp")
    del properties["openslide__mpp-x"]
    assert find_mpp(Pyramid(**properties)) == (0.26, "aperio.MPP")
    del properties["aperio__MPP"]
    assert find_mpp(Pyramid(**properties)) == (pytest.approx(0.265), "OME PhysicalSizeX")
    del properties["openslide__comment"]
    assert find_mpp(Pyramid(**properties)) == (pytest.approx(0.27), "tiff.XResolution")
    del properties["tiff__XResolution"]
    assert find_mpp(Pyramid(**properties)) == (0.25, "objective power")


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ('<Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.5"/>', (0.5, "OME PhysicalSizeX")),
        ('<Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="µm"/>', (0.5, "OME PhysicalSizeX")),
        ('<Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="\u03bcm"/>', (0.5, "OME PhysicalSizeX")),
        ('<Pixels PhysicalSizeX="5e-4" PhysicalSizeXUnit="mm"/>', (0.5, "OME PhysicalSizeX")),
        ("<Image><PixelSizeMicrons>0.4964</PixelSizeMicrons>", (0.4964, "PixelSizeMicrons")),
        # a unit that is no length, or none that is plausible: the next source
        ('<Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="pixel"/>', (1.0, "objective power")),
        ('<Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="mm"/>', (1.0, "objective power")),
    ],
)
def test_scales_in_the_comment_of_a_file_honour_their_unit(comment, expected):
    properties = {"openslide__comment": comment, "openslide__objective-power": "10"}
    assert find_mpp(Pyramid(**properties)) == (pytest.approx(expected[0]), expected[1])


def test_an_implausible_source_is_passed_over_for_the_next():
    properties = ALL | {"openslide__mpp-x": "352.8", "openslide__mpp-y": "352.8"}
    assert find_mpp(Pyramid(**properties)) == (0.26, "aperio.MPP")
    assert find_mpp(Pyramid(**ALL), 40.0)[1] == "openslide.mpp"


def test_unreadable_values_are_no_scale():
    with pytest.raises(SlideError):
        find_mpp(Pyramid(**{"openslide__mpp-x": "unknown", "openslide__objective-power": ""}))


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
def test_resolution_tags_of_a_real_file(make_slide, glass, tmp_path, unit):
    path = make_slide(tmp_path / "a.tiff", glass(512, 512), mpp=0.4, unit=unit)
    with Slide(path) as slide:
        assert find_mpp(slide)[0] == pytest.approx(0.4, rel=1e-4)
        for name in ("openslide.mpp-x", "openslide.mpp-y"):  # older OpenSlide leaves them out
            slide.properties.pop(name, None)
        assert find_mpp(slide) == (pytest.approx(0.4, rel=1e-4), "tiff.XResolution")


def test_seventy_two_dots_per_inch_are_refused_in_words(make_slide, glass, tmp_path):
    path = make_slide(tmp_path / "a.tiff", glass(512, 512), mpp=25_400 / 72, unit="INCH")
    with Slide(path) as slide, pytest.raises(SlideError) as error:
        find_mpp(slide)
    assert error.value.kind == "no_scale"
    for part in (
        "no scale",
        "implausible: openslide.mpp 352.778",
        "add a column mpp",
        "downsample",
    ):
        assert part in str(error.value)


def test_a_file_without_any_scale_is_refused_in_words(make_slide, glass, tmp_path):
    path = make_slide(tmp_path / "a.tiff", glass(512, 512), mpp=None)
    with Slide(path) as slide:
        with pytest.raises(SlideError, match="no mpp and no objective power; add a column mpp"):
            find_mpp(slide)
        assert find_mpp(slide, 0.5) == (0.5, "slides.csv")


def test_aperio_files_tell_power_and_mpp(make_slide, glass, tmp_path):
    described = "Aperio Image Library v11\r\n512x512 (256x256) |AppMag = 20|MPP = 0.499"
    path = make_slide(
        tmp_path / "a.svs", glass(512, 512), mpp=None, downsamples=(), description=described
    )
    with Slide(path) as slide:
        assert find_mpp(slide) == (pytest.approx(0.499), "openslide.mpp")
        for name in ("openslide.mpp-x", "openslide.mpp-y", "aperio.MPP"):
            slide.properties.pop(name, None)
        assert find_mpp(slide) == (0.5, "objective power")


@pytest.mark.parametrize(
    ("properties", "given", "said"),
    [
        (ALL, None, None),
        (ALL, 0.5, "slides.csv says 0.5 um/px, the objective power 0.25 um/px"),
        (ALL | {"openslide__mpp-y": "0.30"}, None, "pixels are not square (0.25 x 0.3 um)"),
    ],
)
def test_contradictions_are_said(caplog, properties, given, said):
    with caplog.at_level(logging.WARNING):
        mpp, _ = find_mpp(Pyramid(**properties), given)
    assert np.isfinite(mpp)
    assert (said in caplog.text) if said else not caplog.text
