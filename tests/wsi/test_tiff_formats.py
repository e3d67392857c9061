"""Every way that tiled TIFF is stored: direct decoding shows what OpenSlide shows, or leaves it.

Slides are written in the test, read by the direct back end and by OpenSlide alone.
"""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from tests.wsi.tiff_writing import (
    J2K,
    J2K_RGB,
    J2K_YCBCR,
    JPEG,
    abbreviated,
    jpeg,
    jpeg2000,
    pyramid,
    tissue,
    with_jfif,
    write_tiff,
)
from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.reader.tile_codecs import Decoder


@pytest.fixture(scope="module")
def levels():
    return pyramid(tissue(1000, 1300))


def assert_equals_openslide(path, tolerance=0):
    """Compare regions of every level with parts of the whole level that OpenSlide reads.

    OpenSlide's regions begin at a level-0 pixel, beside the level's own where ratios are fractions.
    """
    with Slide(path) as mine, Slide(path, direct=False) as theirs:
        assert (mine.backend, theirs.backend) == ("tiff", "openslide")
        assert mine.level_dimensions == theirs.level_dimensions
        for level, (width, height) in enumerate(mine.level_dimensions):
            expected, _ = theirs._read(level, -20, -10, width + 70, height + 40)
            assert expected[10:-30, 20:-50].std() > 5  # there is something to compare
            for left, top, w, h in [
                (0, 0, width, height),
                (-20, -10, width + 70, height + 40),
                (width // 3, height // 4, width // 2, height // 2),
                (width - 100, height - 60, 150, 90),
                (0, 0, 256, 240),
                (width // 2, height // 2, 1, 1),
            ]:
                left, top = max(left, -20), max(top, -10)
                w, h = min(w, width + 50 - left), min(h, height + 30 - top)
                rgb, unreadable = mine._read(level, left, top, w, h)
                assert unreadable == 0
                part = expected[top + 10 : top + 10 + h, left + 20 : left + 20 + w]
                assert abs(rgb.astype(int) - part).max() <= tolerance
        assert not mine.damaged


rgb_tables, ycbcr_tables = abbreviated(jpeg("RGB", (1, 1))), abbreviated(jpeg())
KINDS = {
    "YCbCr 4:2:0": {"encode": jpeg(), "photometric": "ycbcr", "subsampling": (2, 2)},
    "YCbCr 4:2:2": {"encode": jpeg("YCBCR", (2, 1)), "photometric": "ycbcr", "subsampling": (2, 1)},
    "YCbCr 4:4:4": {"encode": jpeg("YCBCR", (1, 1)), "photometric": "ycbcr", "subsampling": (1, 1)},
    "RGB JPEG": {"encode": jpeg("RGB", (1, 1))},
    "RGB JPEG of Aperio": {"encode": jpeg("RGB", (1, 1)), "aperio": True, "tile": 240},
    "RGB JPEG with JFIF": {"encode": with_jfif(jpeg("RGB", (1, 1)))},
    "YCbCr JPEG with JFIF": {"encode": with_jfif(jpeg()), "photometric": "ycbcr"},
    "JPEGTables, YCbCr": {
        "encode": ycbcr_tables[0],
        "jpegtables": ycbcr_tables[1],
        "photometric": "ycbcr",
    },
    "JPEGTables, RGB": {"encode": rgb_tables[0], "jpegtables": rgb_tables[1], "aperio": True},
    "JPEG 2000 RGB of Aperio": {"encode": jpeg2000(), "compression": J2K_RGB, "aperio": True},
    "JPEG 2000 lossy": {"encode": jpeg2000(level=40), "compression": J2K_RGB, "aperio": True},
    "JPEG 2000 YCbCr of Aperio": {
        "encode": jpeg2000("YCBCR"),
        "compression": J2K_YCBCR,
        "aperio": True,
    },
    "deflate": {"compression": "deflate"},
    "deflate, predictor": {"compression": "deflate", "predictor": 2},
    "LZW": {"compression": "lzw"},
    "LZW, predictor": {"compression": "lzw", "predictor": 2},
    "none": {"compression": None},
    "BigTIFF": {"encode": jpeg(), "photometric": "ycbcr", "bigtiff": True},
    "big-endian": {
        "encode": jpeg(),
        "photometric": "ycbcr",
        "byteorder": ">",
        "bigtiff": True,
    },
    "big-endian LZW, predictor": {
        "compression": "lzw",
        "predictor": 2,
        "byteorder": ">",
        "bigtiff": True,
    },
    "tiles of 240": {"encode": jpeg(), "photometric": "ycbcr", "tile": 240},
    "tiles of 512": {"encode": jpeg(), "photometric": "ycbcr", "tile": 512},
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_equal_openslides(levels, kind, tmp_path):
    path = write_tiff(tmp_path / "slide.tiff", levels, **KINDS[kind])
    assert_equals_openslide(path, tolerance=int("2000 YCbCr" in kind))
    with Slide(path) as slide:  # the colours are those of the picture, too
        rgb, _ = slide.read(0, 0, 0, 1300, 1000)
    assert abs(rgb.astype(int) - levels[0]).mean() < 6


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_odd_sizes_whose_ratios_are_just_above_four(compression, tmp_path):
    # 2047 // 4 and 1535 // 4, as 8191 x 6143 slides have
    odd = pyramid(tissue(1535, 2047))
    kind = {"jpeg": KINDS["YCbCr 4:2:0"], "deflate": KINDS["deflate"]}[compression]
    path = write_tiff(tmp_path / "odd.tiff", odd, **kind)
    with Slide(path) as slide:
        assert slide.downsample(1)[0] > 4
    assert_equals_openslide(path)


def test_odd_sizes_whose_ratios_are_just_below_four(tmp_path):
    rgb = tissue(1534, 2046)
    path = write_tiff(
        tmp_path / "odd.tiff",
        [rgb, cv2.resize(rgb, (512, 384), interpolation=cv2.INTER_AREA)],
        **KINDS["YCbCr 4:2:0"],
    )
    with Slide(path) as slide:
        assert slide.downsample(1)[0] < 4
    assert_equals_openslide(path)


def test_big_endian_tiff_that_openslide_refuses_ends_in_a_sentence(levels, tmp_path):
    path = write_tiff(tmp_path / "a.tiff", levels, byteorder=">", compression="deflate")
    try:
        assert_equals_openslide(path)  # should OpenSlide learn it (4.0.1 cannot)
    except SlideError as error:
        assert "convert it to a pyramidal TIFF" in str(error)  # noqa: PT017


def test_jpeg_2000_outside_aperio_is_read_right_by_whoever_can(levels, tmp_path):
    # OpenSlide has no decoder for 34712; nothing to hold direct decoding against
    path = write_tiff(tmp_path / "a.tiff", levels, jpeg2000(), compression=J2K)
    try:
        with Slide(path) as slide:
            rgb, unreadable = slide.read(0, 0, 0, 1300, 1000)
    except SlideError as error:
        assert error.kind == "unreadable"  # noqa: PT017 - either ending is right
        return
    assert unreadable == 1 or (rgb == levels[0]).all()


def test_left_out_tiles_of_aperio_are_left_to_openslide(levels, tmp_path, monkeypatch):
    """It shows nothing there, and redraws that part of the coarser levels from the finer ones."""
    monkeypatch.setattr("wsi.reader.agreement.SAMPLE", 1)  # which need not show the difference
    encode = jpeg("RGB", (1, 1))
    path = write_tiff(tmp_path / "a.svs", levels, encode, aperio=True, empty=[(0, 7)])
    whole = write_tiff(tmp_path / "b.svs", levels, encode, aperio=True)
    with Slide(path) as slide, Slide(whole) as reference:
        assert slide.backend == "openslide"
        rgb, unreadable = slide.read(0, 0, 0, 1300, 1000)
        assert unreadable == 0
        assert (rgb[256:512, 256:512] == 255).all()
        assert (slide.read(256, 256, 1, 64, 64)[0] == 255).all()
        np.testing.assert_array_equal(rgb[512:], reference.read(0, 512, 0, 1300, 488)[0])


def test_left_out_tiles_of_other_tiffs_are_background(levels, tmp_path):
    kind = KINDS["YCbCr 4:2:0"]
    path = write_tiff(tmp_path / "a.tiff", levels, empty=[(0, 7), (1, 0)], **kind)
    with Slide(path) as mine, Slide(path, direct=False) as theirs:
        assert mine.backend == "tiff"
        for place in ((0, 0, 0, 1300, 1000), (0, 0, 1, 325, 250), (300, 300, 0, 100, 100)):
            rgb, unreadable = mine.read(*place)
            assert unreadable == 0
            np.testing.assert_array_equal(rgb, theirs.read(*place)[0])
        assert (mine.read(256, 256, 0, 256, 256)[0] == 255).all()


def test_all_levels_of_ome_tiff_are_seen(levels, tmp_path):
    path = tmp_path / "a.ome.tiff"
    write_ome(path, levels, jpeg())
    with Slide(path) as slide, tifffile.TiffFile(path) as file:
        assert slide.backend == "tiff"
        assert len(slide.level_dimensions) == 3  # OpenSlide sees one
        for level, stored in enumerate(file.series[0].levels):
            width, height = slide.level_dimensions[level]
            rgb, unreadable = slide._read(level, 0, 0, width, height)
            assert unreadable == 0
            # tifffile's decoder is libjpeg too
            assert abs(rgb.astype(int) - stored.asarray()).max() <= 1


def test_ome_tiff_of_several_series_shows_that_of_openslide(levels, tmp_path):
    path = tmp_path / "a.ome.tiff"
    macro = tissue(300, 400, seed=5)
    write_ome(path, levels, None, after=[macro])
    with Slide(path) as slide:
        assert slide.backend == "tiff"
        assert [size[0] for size in slide.level_dimensions] == [1300, 325, 81]
        for level, expected in enumerate(levels):
            height, width = expected.shape[:2]
            np.testing.assert_array_equal(slide._read(level, 0, 0, width, height)[0], expected)


def test_ome_tiff_whose_slide_is_not_the_first_series(levels, tmp_path):
    path = tmp_path / "a.ome.tiff"
    write_ome(path, levels, None, before=[tissue(300, 400, seed=5)])
    with Slide(path) as slide, openslide.OpenSlide(path) as reference:
        assert slide.dimensions == reference.dimensions
        width, height = slide.dimensions
        theirs = np.asarray(reference.read_region((0, 0), 0, (width, height)))[..., :3]
        np.testing.assert_array_equal(slide.read(0, 0, 0, width, height)[0], theirs)


def write_ome(path, levels, encode, before=(), after=()):
    options = {"tile": (256, 256), "photometric": "rgb", "metadata": {"axes": "YXS"}}
    with tifffile.TiffWriter(path, ome=True) as file:
        for image in before:
            file.write(image, compression="deflate", **options)
        kind = {"compression": "jpeg", "compressionargs": {"level": 90}} if encode else {}
        kind = kind or {"compression": "deflate"}
        file.write(levels[0], subifds=len(levels) - 1, **options, **kind)
        for image in levels[1:]:
            file.write(image, subfiletype=1, **options, **kind)
        for image in after:
            file.write(image, compression="deflate", **options)


def sixteen_bits(rgb):
    return rgb.astype(np.uint16) * 257


LEFT_TO_OPENSLIDE = {
    "planes apart": (lambda rgb: np.moveaxis(rgb, 2, 0).copy(), {"planarconfig": "separate"}),
    "16 bits": (sixteen_bits, {}),
    "RGBA": (lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]), {}),
    "strips": (lambda rgb: rgb, {"tile": None}),
    "grey": (lambda rgb: rgb[..., 1].copy(), {"photometric": "minisblack"}),
    "inverted grey": (lambda rgb: 255 - rgb[..., 1], {"photometric": "miniswhite"}),
    "CMYK": (
        lambda rgb: np.dstack([255 - rgb, np.zeros(rgb.shape[:2], np.uint8)]),
        {"photometric": "separated"},
    ),
}


@pytest.mark.parametrize("kind", LEFT_TO_OPENSLIDE)
def test_what_is_not_decoded_directly_is_openslides_or_refused(levels, kind, tmp_path):
    convert, options = LEFT_TO_OPENSLIDE[kind]
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", **options}
    if kind == "RGBA":
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(tmp_path / "a.tiff", convert(levels[0]), metadata=None, **options)
    try:
        with Slide(tmp_path / "a.tiff") as slide:
            assert slide.backend == "openslide"
            rgb, unreadable = slide.read(0, 0, 0, 1300, 1000)
    except SlideError as error:
        assert error.kind == "unreadable"  # noqa: PT017 - either ending is right
        assert "convert it to a pyramidal TIFF" in str(error)  # noqa: PT017
        return
    expected = levels[0] if "grey" not in kind else np.repeat(levels[0][..., 1:2], 3, axis=2)
    assert unreadable == 1 or abs(rgb.astype(int) - expected).max() <= 1


def test_colours_that_differ_from_openslides_are_noticed(levels, tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tiff", levels, **KINDS["YCbCr 4:2:0"])
    with Slide(path) as slide:
        right, _ = slide.read(0, 0, 0, 1300, 1000)
    find_decoder = __import__("wsi.reader.tiff_level", fromlist=["x"]).find_decoder

    def wrong(page):
        decoder = find_decoder(page)
        swapped = lambda data, reduction: decoder.decode(data, reduction)[..., ::-1]  # noqa: E731
        return Decoder(decoder.kind, swapped, decoder.reductions)

    monkeypatch.setattr("wsi.reader.tiff_level.find_decoder", wrong)
    with Slide(path) as slide:
        assert slide.backend == "openslide"
        np.testing.assert_array_equal(slide.read(0, 0, 0, 1300, 1000)[0], right)


def test_an_adobe_marker_that_contradicts_the_tiff_is_read_as_openslide_does(levels, tmp_path):
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"  # says YCbCr, the TIFF says RGB
    encode = jpeg("RGB", (1, 1))
    path = write_tiff(tmp_path / "a.tiff", levels, lambda t: b"\xff\xd8" + adobe + encode(t)[2:])
    with Slide(path) as mine, Slide(path, direct=False) as theirs:
        np.testing.assert_array_equal(
            mine.read(0, 0, 0, 1300, 1000)[0], theirs.read(0, 0, 0, 1300, 1000)[0]
        )


def test_a_level_stored_otherwise_and_never_equal_is_not_trusted(levels, tmp_path, monkeypatch):
    """Each kind of storage must agree, not only that of level 0."""
    path = tmp_path / "a.tiff"
    with tifffile.TiffWriter(path) as file:
        for number, kind in enumerate(("jpeg", "deflate", "deflate")):
            options = {"subfiletype": int(number > 0), "photometric": "rgb", "metadata": None}
            file.write(levels[number], tile=(256, 256), compression=kind, **options)
    assert_equals_openslide(path)
    monkeypatch.setattr("wsi.reader.tile_codecs._lossless", lambda page: never)
    with Slide(path) as slide:
        assert slide.backend == "openslide"


def never(data, reduction):
    raise ValueError("no")


def test_background_is_the_files_colour_and_never_black(levels, tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tiff", levels, empty=[(0, 7)], **KINDS["YCbCr 4:2:0"])
    with Slide(path) as slide:
        assert (slide.read(-50, -50, 0, 50, 50)[0] == 255).all()
    properties = {"openslide.vendor": "generic-tiff", "openslide.background-color": "F0E1D2"}
    monkeypatch.setattr(openslide.OpenSlide, "properties", properties)
    for direct in (True, False):
        with Slide(path, direct) as slide:
            assert (slide.read(256, 256, 0, 256, 256)[0] == (0xF0, 0xE1, 0xD2)).all()
            assert (slide.read(5000, 0, 0, 9, 9)[0] == (0xF0, 0xE1, 0xD2)).all()


def test_the_overview_shows_the_bounds_only(levels, tmp_path, monkeypatch):
    levels = pyramid(cv2.GaussianBlur(levels[0], (0, 0), 12))
    path = write_tiff(tmp_path / "a.tiff", levels, **KINDS["YCbCr 4:2:0"])
    bounds = {"x": 320, "y": 160, "width": 640, "height": 480}
    properties = {f"openslide.bounds-{name}": str(value) for name, value in bounds.items()}
    monkeypatch.setattr(openslide.OpenSlide, "properties", properties)
    with Slide(path) as slide:
        assert slide.bounds == (320, 160, 640, 480)
        overview = slide.overview(8)
    expected = cv2.resize(levels[0][160:640, 320:960], (80, 60), interpolation=cv2.INTER_AREA)
    assert overview.shape == expected.shape
    assert abs(overview.astype(int) - expected).mean() < 1  # a pixel beside it would be 4.5


PICTURES = {
    "alpha": (lambda rgb: np.dstack([rgb, mask(rgb)]), "RGBA", "png"),
    "palette": (None, "P", "png"),
    "grey PNG": (lambda rgb: rgb[..., 1], "L", "png"),
    "grey JPEG": (lambda rgb: rgb[..., 1], "L", "jpeg"),
    "JPEG": (lambda rgb: rgb, "RGB", "jpeg"),
    "CMYK JPEG": (None, "CMYK", "jpeg"),
}


def mask(rgb):
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:100], alpha[100:200] = 0, 128
    return alpha


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", ["a.png", "a.svs", "a"])
def test_pictures_open_by_content_whatever_their_name(levels, kind, name, tmp_path):
    convert, mode, kind_of_file = PICTURES[kind]
    rgb = levels[0]
    image = Image.fromarray(convert(rgb)) if convert else Image.fromarray(rgb).convert(mode)
    assert image.mode == mode
    image.save(tmp_path / name, format=kind_of_file, **({"quality": 95} if "JPEG" in kind else {}))
    with Slide(tmp_path / name) as slide:
        assert (slide.backend, slide.format) == ("picture", kind_of_file)
        assert slide.level_dimensions == [(1300, 1000)]
        pixels, unreadable = slide.read(0, 0, 0, 1300, 1000)
        assert unreadable == 0
        assert slide.overview(32).shape == (31, 41, 3)
    expected = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    if kind == "alpha":
        assert (pixels[:100] == 255).all()
        half = rgb[100:200] * (128 / 255) + 255 * (127 / 255)
        assert abs(pixels[100:200] - half).max() <= 0.51
        expected, pixels = expected[200:], pixels[200:]
    np.testing.assert_array_equal(pixels, expected)


def test_a_picture_that_is_read_and_painted_over_is_not_painted_over_for_others(levels, tmp_path):
    Image.fromarray(levels[0]).save(tmp_path / "a.png")
    with Slide(tmp_path / "a.png") as slide:
        slide.read(0, 0, 0, 1300, 1000)[0][:] = 0
        np.testing.assert_array_equal(slide.read(0, 0, 0, 1300, 1000)[0], levels[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_16_bits_ends_in_a_sentence(levels, channels, tmp_path):
    rgb = sixteen_bits(levels[0])
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., 0] if channels == 1 else rgb)
    with pytest.raises(SlideError, match="16 bits a channel; save it with 8") as error:
        Slide(tmp_path / "a.png")
    assert error.value.kind == "unreadable"


def test_opening_a_picture_leaves_the_limit_of_pillow_alone(levels, tmp_path):
    Image.fromarray(levels[0]).save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS
    Slide(tmp_path / "a.png").close()
    assert before == Image.MAX_IMAGE_PIXELS


def area_means(rgb, factor):
    height, width = (side // factor * factor for side in rgb.shape[:2])
    size = width // factor, height // factor
    return cv2.resize(rgb[:height, :width], size, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("downsample", [2, 4, 8, 32])
@pytest.mark.parametrize("smooth", [True, False])
def test_the_decoders_reduced_overview_is_close_to_the_area_mean(smooth, downsample, tmp_path):
    rgb = tissue(1024, 1280)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 12) if smooth else rgb
    path = write_tiff(tmp_path / "a.tiff", [rgb], **KINDS["YCbCr 4:2:0"])
    with Slide(path) as slide:
        assert slide._reduction(0, downsample) == min(8, downsample)
        decoded, _ = slide.read(0, 0, 0, 1280, 1024)
        difference = abs(slide.overview(downsample).astype(int) - area_means(decoded, downsample))
    assert difference.max() <= 3 if smooth else difference.mean() < 1.5


def test_reading_patches_opens_no_files(levels, tmp_path, monkeypatch):
    jpegs = write_tiff(tmp_path / "a.tiff", levels, **KINDS["YCbCr 4:2:0"])
    deflated = write_tiff(tmp_path / "b.tiff", levels, compression="deflate")
    with Slide(jpegs) as slide, Slide(deflated) as other, Slide(jpegs, direct=False) as slow:
        opened = []
        real_open, real_slide = os.open, openslide.OpenSlide.__init__
        real_builtin = open

        def watched(path, *arguments, **options):
            opened.append(path)
            return real_open(path, *arguments, **options)

        def watched_slide(self, path):
            opened.append(path)
            real_slide(self, path)

        def watched_builtin(path, *arguments, **options):
            opened.append(path)
            return real_builtin(path, *arguments, **options)

        monkeypatch.setattr("os.open", watched)
        monkeypatch.setattr("builtins.open", watched_builtin)
        monkeypatch.setattr(openslide.OpenSlide, "__init__", watched_slide)
        for x in range(500):
            for one in (slide, other, slow) if x < 30 else (slide, other):
                one.read(x * 2 % 1000, x * 3 % 700, 0, 64, 64)
    assert opened == []


@pytest.mark.parametrize("direct", [True, False])
def test_four_threads_see_what_one_sees(levels, tmp_path, direct, damage_tile, monkeypatch):
    path = write_tiff(tmp_path / "a.tiff", levels, **KINDS["YCbCr 4:2:0"])
    damage_tile(path, level=0, number=8)  # after an error OpenSlide's handle is dead for all
    monkeypatch.setattr("wsi.reader.tiff_backend.CACHE_BYTES", 2**20)  # tiles come and go
    rng = np.random.default_rng(0)
    places = [(int(x), int(y), 0, 300, 200) for x, y in rng.integers(0, 900, (60, 2))]
    with Slide(path, direct) as slide:
        expected = [slide.read(*place) for place in places]
        damaged = set(slide.damaged)
    assert damaged == {(0, 2, 1)}
    with Slide(path, direct) as slide, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda place: slide.read(*place), places))
        assert set(slide.damaged) == damaged
    for (rgb, lost), (other, other_lost) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(rgb, other)
        assert lost == other_lost


@pytest.mark.parametrize("direct", [True, False])
def test_only_the_path_is_pickled(levels, tmp_path, direct):
    path = write_tiff(tmp_path / "a.tiff", levels, **KINDS["YCbCr 4:2:0"])
    with Slide(path, direct) as slide:
        slide.read(0, 0, 0, 500, 500)
        pickled = pickle.dumps(slide)
        assert len(pickled) < 500
        with pickle.loads(pickled) as other:
            assert other.backend == slide.backend
            np.testing.assert_array_equal(
                other.read(9, 9, 0, 500, 500)[0], slide.read(9, 9, 0, 500, 500)[0]
            )


def test_forked_processes_and_their_parent_read_right_pixels_of_one_slide(levels, tmp_path):
    path = write_tiff(tmp_path / "a.tiff", levels, compression="deflate")
    with Slide(path) as slide:
        slide._backend._cache.clear()
        context = get_context("fork")
        queue = context.Queue()

        def read_all():
            slide._backend._cache.clear()
            queue.put(
                all(
                    np.array_equal(
                        slide.read(x, y, 0, 90, 90)[0], levels[0][y : y + 90, x : x + 90]
                    )
                    for x in range(0, 1200, 97)
                    for y in range(0, 900, 89)
                )
            )

        workers = [context.Process(target=read_all) for _ in range(3)]
        for worker in workers:
            worker.start()
        read_all()
        assert [queue.get(timeout=60) for _ in range(4)] == [True] * 4
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0


def test_a_closed_slide_is_not_read_and_may_be_closed_again(levels, tmp_path):
    path = write_tiff(tmp_path / "a.tiff", levels, **KINDS["YCbCr 4:2:0"])
    for direct in (True, False):
        slide = Slide(path, direct)
        slide.close()
        slide.close()
        with pytest.raises(ValueError, match="closed"):
            slide.read(0, 0, 0, 10, 10)
        assert not slide.damaged


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "native/CMU-1-Small-Region.svs",
        "native/TCGA-CR-7395-01A-01-TS1.svs",
        "monuseg_padded/TCGA-18-5592-01Z-00-DX1.tiff",
        "monuseg_padded/TCGA-B0-5698-01Z-00-DX1.tiff",
    ],
)
def test_real_slides_equal_openslides_on_every_level(real_slides, name):
    assert JPEG == 7
    assert_equals_openslide(real_slides / name)
