import os

import numpy as np
import pytest
import tifffile

from wsi.outcome import SlideError
from wsi.reader import Slide


@pytest.fixture(scope="module")
def picture(noise):
    return noise(1100, 1300)


@pytest.fixture(scope="module")
def exact(make_slide, picture, tmp_path_factory):
    """A slide of 1300 x 1100: level 1 is exactly 4 times smaller, level 2 81 x 68 (not 16)."""
    return make_slide(tmp_path_factory.mktemp("slides") / "exact.tiff", picture)


@pytest.fixture
def damaged(make_slide, damage_tile, picture, tmp_path):
    """The second row's second tile, x and y from 256 to 511, is overwritten."""
    path = make_slide(tmp_path / "damaged.tiff", picture, compression="jpeg", downsamples=(4,))
    damage_tile(path, level=0, number=6 + 1)
    return path


@pytest.fixture
def whole(make_slide, picture, tmp_path):
    return make_slide(tmp_path / "whole.tiff", picture, compression="jpeg", downsamples=(4,))


@pytest.fixture(params=[True, False], ids=["direct", "openslide"])
def direct(request):
    return request.param


def read_all(path, x, y, level, width, height, direct=True):
    with Slide(path, direct) as slide:
        assert slide.backend == ("tiff" if direct else "openslide")
        return slide.read(x, y, level, width, height)


@pytest.mark.parametrize(("level", "scale"), [(0, 1), (1, 4)])
def test_pixels_equal_what_tifffile_reads(exact, level, scale, direct):
    expected = tifffile.imread(exact, key=level)
    rgb, unreadable = read_all(exact, 100 * scale, 60 * scale, level, 150, 130, direct)
    assert unreadable == 0
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, expected[60:190, 100:250])


def test_a_level_of_no_whole_ratio_starts_at_its_first_pixel(exact, direct):
    rgb, _ = read_all(exact, 0, 0, 2, 81, 68, direct)
    np.testing.assert_array_equal(rgb, tifffile.imread(exact, key=2))
    with Slide(exact) as slide:
        assert slide.downsample(1) == (4.0, 4.0)
        assert slide.downsample(2) == pytest.approx((1300 / 81, 1100 / 68))


def test_what_lies_outside_is_white_and_the_rest_right(exact, picture, direct):
    rgb, unreadable = read_all(exact, 1200, 1000, 0, 256, 256, direct)
    assert unreadable == 0  # outside is not damaged
    np.testing.assert_array_equal(rgb[:100, :100], picture[1000:, 1200:])
    assert (rgb[100:] == 255).all()
    assert (rgb[:, 100:] == 255).all()


def test_wholly_outside_and_at_negative_places_is_white_too(exact, picture, direct):
    assert (read_all(exact, 5000, 5000, 1, 20, 10, direct)[0] == 255).all()
    rgb, _ = read_all(exact, -30, -20, 0, 60, 60, direct)
    assert (rgb[:20] == 255).all()
    assert (rgb[:, :30] == 255).all()
    np.testing.assert_array_equal(rgb[20:, 30:], picture[:40, :30])


@pytest.mark.parametrize(("x", "first"), [(1197, 299), (1198, 300), (1201, 300), (1202, 301)])
def test_a_region_begins_at_the_nearest_whole_pixel_of_its_level(exact, x, first, direct):
    rgb, _ = read_all(exact, x, 400, 1, 8, 4, direct)
    np.testing.assert_array_equal(rgb, tifffile.imread(exact, key=1)[100:104, first : first + 8])


def test_places_on_a_level_count_by_the_true_ratio_of_each_axis(make_slide, noise, tmp_path):
    # 3.9995 and 3.9987: at the far end a common or a truncated ratio would be pixels away
    level0 = noise(6143, 8191, seed=9)
    path = make_slide(tmp_path / "odd.tiff", level0, downsamples=(3.9992,))
    level1 = tifffile.imread(path, key=1)
    x, y = 8191 / level1.shape[1], 6143 / level1.shape[0]
    with Slide(path) as slide:
        assert slide.downsample(1) == (x, y)
        rgb, _ = slide.read(round(2000 * x), round(1500 * y), 1, 40, 30)
    np.testing.assert_array_equal(rgb, level1[1500:1530, 2000:2040])


def test_the_background_colour_of_the_file_is_used(exact, monkeypatch):
    with Slide(exact) as slide:
        slide.background = (10, 200, 30)
        assert (slide.read(1300, 0, 0, 4, 4)[0] == (10, 200, 30)).all()


def test_a_missing_file(tmp_path):
    with pytest.raises(SlideError, match=r"no\.svs does not exist; correct path") as error:
        Slide(tmp_path / "no.svs")
    assert error.value.kind == "unreadable"


def test_an_empty_file(tmp_path):
    (tmp_path / "a.svs").touch()
    with pytest.raises(SlideError, match=r"is empty \(0 bytes\); copy the slide again") as error:
        Slide(tmp_path / "a.svs")
    assert error.value.kind == "unreadable"


def test_a_text_file(tmp_path):
    (tmp_path / "a.svs").write_text("<html>404 not found</html>")
    with pytest.raises(
        SlideError, match=r"OpenSlide cannot open .*format is not supported"
    ) as error:
        Slide(tmp_path / "a.svs")
    assert error.value.kind == "unreadable"


def test_a_truncated_file(exact, tmp_path):
    content = exact.read_bytes()
    (tmp_path / "a.tiff").write_bytes(content[: len(content) // 2])
    with pytest.raises(SlideError, match="cut off while it was copied") as error:
        Slide(tmp_path / "a.tiff")
    assert error.value.kind == "unreadable"
    assert f"({len(content) // 2 / 1e6:.1f} MB" in str(error.value)


def test_a_folder(tmp_path):
    with pytest.raises(SlideError, match=r"is a folder; path in slides.csv must be a file"):
        Slide(tmp_path)


def test_a_broken_link(tmp_path):
    (tmp_path / "a.svs").symlink_to(tmp_path / "gone.svs")
    with pytest.raises(SlideError, match=r"is a link to .*gone.svs, which does not exist"):
        Slide(tmp_path / "a.svs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file; see test_cross_check")
def test_a_file_that_may_not_be_read(exact, tmp_path):
    path = tmp_path / "a.tiff"
    path.write_bytes(exact.read_bytes())
    path.chmod(0)
    with pytest.raises(SlideError, match="may not be read by this user"):
        Slide(path)


def test_a_mirax_file_without_its_folder_is_no_picture(tmp_path, glass):
    import cv2

    cv2.imwrite(str(tmp_path / "a.jpg"), glass(100, 100))
    (tmp_path / "a.jpg").rename(tmp_path / "a.mrxs")
    with pytest.raises(SlideError, match="MIRAX slide without the folder"):
        Slide(tmp_path / "a.mrxs")


@pytest.mark.parametrize(
    ("x", "y", "width", "height"),
    [
        (256, 256, 256, 256),  # the damaged tile alone
        (0, 0, 1300, 1100),  # everything
        (128, 128, 512, 512),  # across tile borders
        (300, 300, 100, 100),  # inside the damaged tile
        (511, 511, 300, 300),  # only its last pixel
        (5, 401, 777, 333),
    ],
)
def test_a_damaged_tile_costs_its_own_area_and_is_filled_from_the_coarser_level(
    damaged, whole, picture, x, y, width, height, direct
):
    expected, _ = read_all(whole, x, y, 0, width, height, direct)
    lost = np.zeros((height, width), bool)
    lost[max(0, 256 - y) : max(0, 512 - y), max(0, 256 - x) : max(0, 512 - x)] = True
    rgb, unreadable = read_all(damaged, x, y, 0, width, height, direct)
    np.testing.assert_array_equal(rgb[~lost], expected[~lost])
    assert unreadable == pytest.approx(lost.mean())
    if lost.sum() > 1000:  # blurred, but there
        blurred = abs(rgb[lost].astype(int) - expected[lost])
        assert 3 < blurred.mean() < 20


def test_without_a_coarser_level_damage_is_background(make_slide, damage_tile, picture, tmp_path,
                                                      direct):  # fmt: skip
    path = make_slide(tmp_path / "single.tiff", picture, compression="jpeg", downsamples=())
    damage_tile(path, level=0, number=6 + 1)
    rgb, unreadable = read_all(path, 256, 256, 0, 256, 256, direct)
    assert unreadable == 1
    assert (rgb == 255).all()


def test_where_the_coarser_level_is_damaged_too_the_next_one_stands_in(
    make_slide, damage_tile, picture, tmp_path, direct
):
    path = make_slide(tmp_path / "a.tiff", picture, compression="jpeg", downsamples=(2, 4))
    damage_tile(path, level=0, number=0)
    damage_tile(path, level=1, number=0)
    with Slide(path, direct) as slide:
        rgb, unreadable = slide.read(0, 0, 0, 256, 256)
    assert unreadable == 1
    assert abs(rgb.astype(int) - picture[:256, :256]).mean() < 25


def test_reads_after_damage_are_right(damaged, whole, direct):
    with Slide(damaged, direct) as slide, Slide(whole, direct) as reference:
        assert slide.read(256, 256, 0, 256, 256)[1] == 1
        for place in ((512, 256, 0, 256, 256), (0, 0, 1, 325, 275), (100, 600, 0, 300, 300)):
            rgb, unreadable = slide.read(*place)
            assert unreadable == 0
            np.testing.assert_array_equal(rgb, reference.read(*place)[0])
        assert list(slide.damaged) == [(0, 1, 1)]


def test_a_passing_error_is_tried_again(exact, picture, monkeypatch):
    """A disk that drops once: OpenSlide's handle is dead, a new one reads on."""
    import openslide

    read_region = openslide.OpenSlide.read_region
    dead = []

    def flaky(self, *place):
        dead[:] = dead or [self]  # the first handle, from its first read on
        if self is dead[0]:
            raise openslide.OpenSlideError("connection lost")
        return read_region(self, *place)

    monkeypatch.setattr(openslide.OpenSlide, "read_region", flaky)
    rgb, unreadable = read_all(exact, 0, 0, 0, 50, 50, direct=False)
    assert unreadable == 0
    np.testing.assert_array_equal(rgb, picture[:50, :50])


def test_a_passing_error_of_the_disk_is_tried_again(exact, picture, monkeypatch):
    pread = os.pread
    failures = iter([True])

    def flaky(*where):
        if next(failures, False):
            raise OSError(5, "Input/output error")
        return pread(*where)

    with Slide(exact) as slide:
        slide._backend._cache.tiles.clear()
        monkeypatch.setattr(os, "pread", flaky)
        rgb, unreadable = slide.read(0, 0, 0, 50, 50)
    assert unreadable == 0
    assert not slide.damaged
    np.testing.assert_array_equal(rgb, picture[:50, :50])


def area_mean(rgb, factor):
    height, width = (side // factor for side in rgb.shape[:2])
    blocks = rgb[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("strip", [1, 1300 * 100, 2**25])
def test_the_overview_of_a_single_level_is_the_area_mean(
    make_slide, picture, tmp_path, monkeypatch, strip
):
    monkeypatch.setattr("wsi.reader.slide.STRIP", strip)
    path = make_slide(tmp_path / "single.tiff", picture[:1088, :1280], downsamples=())
    with Slide(path) as slide:
        overview = slide.overview(32)
    assert overview.shape == (34, 40, 3)
    assert abs(overview - area_mean(picture[:1088, :1280], 32)).max() <= 1


def test_the_overview_of_odd_sizes_is_the_area_mean_within_two_grey_levels(
    make_slide, noise, tmp_path, monkeypatch
):
    # smooth, since a cell of 1301 / 41 pixels is not a block of 32
    monkeypatch.setattr("wsi.reader.slide.STRIP", 1301 * 200)
    import cv2

    rgb = cv2.GaussianBlur(noise(1103, 1301), (0, 0), 40)
    with Slide(make_slide(tmp_path / "odd.tiff", rgb, downsamples=())) as slide:
        overview = slide.overview(32)
    assert overview.shape == (round(1103 / 32), round(1301 / 32), 3)
    expected = cv2.resize(rgb, (41, 34), interpolation=cv2.INTER_AREA)
    assert abs(overview.astype(int) - expected).max() <= 2


def test_the_overview_reads_the_coarsest_level_that_is_fine_enough(make_slide, glass, tmp_path):
    levels = [np.full((side, side, 3), grey, np.uint8) for side, grey in ((512, 100), (128, 50))]
    path = make_slide(tmp_path / "a.tiff", glass(2048, 2048), levels=levels)
    with Slide(path) as slide:
        assert [slide.best_level(d) for d in (1, 3.9, 3.93, 4, 15.6, 15.7, 64)] == [
            *(0, 0, 1, 1, 1, 2, 2)
        ]
        assert slide.best_level(0.5) == 0
        assert (slide.overview(8) == 100).all()
        assert (slide.overview(32) == 50).all()


def test_the_overview_of_a_wide_slide_is_read_in_pieces_that_fit_in_memory(
    make_slide, glass, tmp_path, monkeypatch
):
    path = make_slide(tmp_path / "wide.tiff", glass(1024, 40_960), downsamples=())
    sizes = []
    read = Slide._read

    def watched(self, level, x, y, width, height, *reduction):
        sizes.append(width * height)
        return read(self, level, x, y, width, height, *reduction)

    monkeypatch.setattr(Slide, "_read", watched)
    with Slide(path) as slide:
        assert (slide.overview(32) == glass(1, 1)[0, 0]).all()
    assert sum(sizes) == 1024 * 40_960
    assert max(sizes) <= 2**25 * 1.05


def test_bounds_of_formats_that_have_them(exact):
    with Slide(exact) as slide:
        assert slide.bounds == (0, 0, 1300, 1100)
        slide.properties |= {
            f"openslide.bounds-{name}": str(value)
            for name, value in zip(("x", "y", "width", "height"), (32, 64, 500, 600), strict=True)
        }
        assert slide.bounds == (32, 64, 500, 600)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "size", "levels"),
    [
        ("CMU-1-Small-Region.svs", (2220, 2967), 1),
        ("TCGA-CR-7395-01A-01-TS1.svs", None, 2),
        ("test3-TRITC-2-560.ndpi", None, 7),
        ("camelyon_multiframe.dcm", None, 1),
    ],
)
def test_real_formats_open_and_give_pixels(real_slides, name, size, levels):
    with Slide(real_slides / "native" / name) as slide:
        assert len(slide.level_dimensions) == levels
        assert size in (None, slide.dimensions)
        rgb, unreadable = slide.read(0, 0, levels - 1, 64, 64)
        assert (rgb.shape, unreadable) == ((64, 64, 3), 0)
        assert slide.overview(64).std() > 1
