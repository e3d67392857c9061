"""Tiles against the coarser level: damage is seen, and a good slide is never called damaged."""

import os
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from tests.wsi.tiff_writing import jpeg, pyramid, tissue, write_tiff
from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.reader.tile_codecs import Decoder

NOBODY = 65534  # a user that owns nothing
YCBCR = {"encode": jpeg(), "photometric": "ycbcr"}
SIZE = 1531, 1787  # no multiple of anything


def picked(rgb):
    """Return levels of single pixels, as some scanners write them."""
    return [rgb, rgb[2::4, 2::4], rgb[8::16, 8::16]]


def block_means(rgb):
    """Return levels whose pixels are exactly 4 x 4 of the finer one; what is left over is cut."""
    levels = [rgb]
    while len(levels) < 3:
        height, width = (side // 4 for side in levels[-1].shape[:2])
        size = width, height
        inside = levels[-1][: height * 4, : width * 4]
        levels.append(cv2.resize(inside, size, interpolation=cv2.INTER_AREA))
    return levels


def fluorescence():
    rng = np.random.default_rng(3)
    rgb = np.zeros((*SIZE, 3), np.uint8)
    for x, y in (rng.random((900, 2)) * (SIZE[1], SIZE[0])).astype(int).tolist():
        cv2.circle(rgb, (x, y), int(rng.integers(3, 12)), (40, 255, 90), -1, cv2.LINE_AA)
    return rgb


def padded():
    """Tissue on glass, with a black border and black bars of ink: edges of 240 grey levels."""
    rgb = np.full((*SIZE, 3), 242, np.uint8)
    rgb[200:1200, 300:1400] = tissue(1000, 1100)
    rgb[:37] = rgb[:, :53] = rgb[1490:] = rgb[:, 1733:] = 0
    for x in range(70, 1700, 61):
        cv2.line(rgb, (x, 1250), (x + 90, 1480), (20, 20, 20), 7)
    return rgb


HEALTHY = {
    "area means": lambda: pyramid(tissue(*SIZE)),
    "block means, cut": lambda: block_means(tissue(*SIZE)),
    "single pixels": lambda: picked(tissue(*SIZE)),
    "black borders and ink": lambda: pyramid(padded()),
    "black borders and ink, block means": lambda: block_means(padded()),
    "black borders and ink, single pixels": lambda: picked(padded()),
    "fluorescence": lambda: pyramid(fluorescence()),
    "fluorescence, single pixels": lambda: picked(fluorescence()),
    "levels of other brightness": lambda: [
        (rgb * (1 - 0.08 * i)).astype(np.uint8) for i, rgb in enumerate(pyramid(tissue(*SIZE)))
    ],
    "only the last level of other brightness": lambda: [
        (rgb * (0.8 if i == 4 else 1)).astype(np.uint8)
        for i, rgb in enumerate(pyramid(tissue(*SIZE), (2, 4, 8, 16)))
    ],
    "coarse levels far apart": lambda: pyramid(tissue(*SIZE), (32,)),
    "noise": lambda: pyramid(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)),
}


def read_everything(slide):
    for level, (width, height) in enumerate(slide.level_dimensions):
        slide._read(level, 0, 0, width, height)
        for reduction in slide._backend.reductions(level):
            slide._read(level, 0, 0, *slide._size(level, reduction), reduction)


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("quality", [30, 90])
def test_no_tile_of_a_good_slide_is_called_damaged(kind, quality, tmp_path):
    options = {"encode": jpeg(level=quality), "photometric": "ycbcr"}
    path = write_tiff(tmp_path / "a.tiff", HEALTHY[kind](), **options)
    with Slide(path) as slide:
        assert slide.backend == "tiff"
        read_everything(slide)
        slide.overview(32)
        assert not slide.damaged
        assert slide.unreadable_share == 0


@pytest.mark.parametrize("kind", ["area means", "block means, cut", "black borders and ink"])
def test_levels_that_are_means_are_compared(kind, tmp_path):
    path = write_tiff(tmp_path / "a.tiff", HEALTHY[kind](), **YCBCR)
    with Slide(path) as slide:
        assert set(slide._backend._cross_check.tolerance) == {0, 1}


@pytest.mark.realdata
def test_no_tile_of_a_real_slide_is_called_damaged(real_slides):
    names = [*real_slides.glob("native/*.svs"), *sorted(real_slides.glob("*/*.tiff"))[:8]]
    assert names
    for path in names:
        with Slide(path) as slide:
            assert slide.backend == "tiff"
            read_everything(slide)
            assert not slide.damaged, path.name


@pytest.fixture
def swapped(tmp_path):
    """A slide of which each of some tiles shows what is elsewhere: it decodes without complaint."""

    def make(levels, numbers, shown=None):
        shown = tissue(256, 256, seed=9) // 2 if shown is None else shown
        encode, count = jpeg(), iter(range(10_000))
        one = lambda tile: encode(shown if next(count) in numbers else tile)  # noqa: E731
        return write_tiff(tmp_path / "swapped.tiff", levels, one, photometric="ycbcr")

    return make


@pytest.mark.parametrize("number", [0, 8, 20, 41])  # 41 is the last one of 7 columns and 6 rows
def test_a_tile_that_decodes_to_other_tissue_is_damaged(swapped, number):
    path = swapped(pyramid(tissue(*SIZE)), {number})
    with Slide(path) as slide:
        rgb, unreadable = slide._read(0, 0, 0, *SIZE[::-1])
        row, column = divmod(number, 7)
        assert list(slide.damaged) == [(0, column, row)]
        assert "grey levels off level 1" in slide.damaged[0, column, row]
    where = slice(row * 256, row * 256 + 256), slice(column * 256, column * 256 + 256)
    right = tissue(*SIZE)[where]
    assert unreadable == pytest.approx(right.shape[0] * right.shape[1] / (SIZE[0] * SIZE[1]))
    assert abs(rgb[where].astype(int) - right).mean() < 15  # filled from the coarser level


def test_tiles_of_the_sample_taken_at_opening_are_compared_too(swapped):
    """They were decoded before it was known that levels can be compared."""
    rough = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    path = swapped(pyramid(tissue(*SIZE)), {9, 30}, rough)  # takes most bytes: it is in the sample
    with Slide(path) as slide:
        slide._read(0, 0, 0, *SIZE[::-1])
        assert set(slide.damaged) == {(0, 2, 1), (0, 2, 4)}


def test_the_overview_marks_damage_where_the_decoder_reduces(swapped, monkeypatch):
    path = swapped(pyramid(tissue(*SIZE), (8,)), {16})
    full = []
    read = Slide._read

    def watched(self, level, left, top, width, height, reduction=1):
        full.append(reduction == 1)
        return read(self, level, left, top, width, height, reduction)

    monkeypatch.setattr(Slide, "_read", watched)
    with Slide(path) as slide:
        overview = slide.overview(4)
        assert list(slide.damaged) == [(0, 2, 2)]
        assert slide.unreadable_share == pytest.approx(256 * 256 / (SIZE[0] * SIZE[1]), rel=0.02)
    assert not any(full)  # at full size a strip of it would be gigabytes
    right = cv2.resize(tissue(*SIZE), overview.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert abs(overview.astype(int) - right)[128:192, 128:192].mean() < 20


def test_where_the_next_level_is_damaged_the_one_after_tells(swapped, damage_tile):
    path = swapped(pyramid(tissue(*SIZE), (2, 4)), {8})
    damage_tile(path, level=1, number=0)  # shows tiles 0, 1, 7 and 8
    with Slide(path) as slide:
        slide._read(0, 0, 0, 512, 512)
        assert set(slide.damaged) == {(0, 1, 1)}


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_what_libjpeg_only_warns_of_is_damage_where_no_level_can_tell(tmp_path, subsampling):
    """A single level, and the second half of a tile's bytes is lost."""
    whole, count = jpeg(subsampling=subsampling), iter(range(100))

    def encode(tile):
        data = whole(tile)
        return data if next(count) != 1 else data[: len(data) // 2] + bytes(len(data) // 2)

    options = {"photometric": "ycbcr", "subsampling": subsampling}
    path = write_tiff(tmp_path / "a.tiff", [tissue(600, 600)], encode, **options)
    with Slide(path) as slide:
        assert slide.backend == "tiff"
        rgb, _ = slide.read(0, 0, 0, 600, 600)
        assert set(slide.damaged) == {(0, 1, 0)}
        assert (rgb[:256, 256:512] == 255).all()


@pytest.mark.parametrize("error", [RuntimeError, OverflowError, IndexError, ZeroDivisionError])
def test_whatever_a_decoder_raises_is_damage(tmp_path, monkeypatch, error):
    path = write_tiff(tmp_path / "a.tiff", pyramid(tissue(600, 600)), **YCBCR)
    with Slide(path) as slide:
        slide._backend._cache.clear()

        def raises(*_, **__):
            raise error("odd")

        monkeypatch.setattr("simplejpeg.decode_jpeg", raises)
        rgb, unreadable = slide.read(0, 0, 0, 300, 300)
    assert unreadable == 1
    assert (rgb == 255).all()


def test_a_decoder_that_runs_out_of_memory_is_the_machines_fault(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tiff", pyramid(tissue(600, 600)), **YCBCR)

    def raises(*_, **__):
        raise MemoryError

    with Slide(path) as slide:
        slide._backend._cache.clear()
        monkeypatch.setattr("simplejpeg.decode_jpeg", raises)
        with pytest.raises(MemoryError):  # the job is tried again with more
            slide.read(0, 0, 0, 300, 300)
        assert not slide.damaged
    assert Decoder("", raises).reductions == ()


@pytest.mark.parametrize(("direct", "seconds"), [(True, 5), (False, 25)])
def test_a_slide_half_of_which_is_lost_is_read_in_seconds(tmp_path, direct, seconds):
    """6,400 storage tiles, of which 3,200 are zeros, as after a copy that was broken off."""
    block, side, tile = tissue(256, 256), 10_240, 128
    tiles = [jpeg()(block[y : y + tile, x : x + tile]) for y in (0, tile) for x in (0, tile)]
    path = tmp_path / "a.tiff"
    tifffile.imwrite(
        path,
        (tiles[i % 2 + 2 * (i // 80 % 2)] for i in range(6400)),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(tile, tile),
        photometric="ycbcr",
        compression="jpeg",
        metadata=None,
    )
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    start = time.monotonic()
    with Slide(path, direct) as slide:
        slide.overview(32)
        assert slide.unreadable_share == pytest.approx(0.5, abs=0.01)
        for x in range(0, side, 1024):
            for y in range(0, side, 1024):
                slide.read(x, y, 0, 300, 300)
        assert 3100 < len(slide.damaged) < 3300
    assert time.monotonic() - start < seconds


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user; see test_reader")
def test_a_file_that_may_not_be_read_by_another_user():
    """Root may read every file, so another user tries."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = write_tiff(Path(name) / "a.tiff", pyramid(tissue(300, 300)), **YCBCR)
        path.chmod(0)
        context = get_context("fork")
        said = context.Queue()

        def read_as_nobody():
            os.setuid(NOBODY)
            try:
                Slide(path)
            except SlideError as error:
                said.put((error.kind, str(error)))

        child = context.Process(target=read_as_nobody)
        child.start()
        kind, sentence = said.get(timeout=60)
        child.join(60)
    assert kind == "unreadable"
    assert "may not be read by this user; ask its owner, or chmod it" in sentence
