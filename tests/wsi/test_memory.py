"""Hundreds of slides in one process: neither memory nor open files grow."""

import shutil

import psutil
import pytest

from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.reader.backend import CACHE_BYTES

SLIDES = 300
SETTLED = 10  # slides after which all that is loaded once is loaded
GROWTH = 12 * 2**20  # bytes in 290 slides; one cache kept by each tenth slide would be 30 MB more


def read_whole(path, direct=True):
    with Slide(path, direct) as slide:
        slide.overview(32)
        width, height = slide.dimensions
        slide.read(0, 0, 0, width, height)


def test_three_hundred_slides_take_no_more_memory_than_ten(make_slide, noise, tmp_path):
    made = make_slide(tmp_path / "a.tiff", noise(1024, 1024), compression="jpeg")
    process = psutil.Process()
    memory, files = [], []
    for i in range(SLIDES):
        path = tmp_path / f"S{i}.tiff"
        shutil.copy(made, path)
        read_whole(path, direct=i % 3 > 0)
        path.unlink()
        memory.append(process.memory_info().rss)
        files.append(process.num_fds())
    assert max(memory[SETTLED:]) - memory[SETTLED] < GROWTH
    assert max(files[SETTLED:]) <= files[SETTLED]


def test_refused_slides_leave_no_file_open(make_slide, noise, tmp_path):
    made = make_slide(tmp_path / "a.tiff", noise(600, 600), compression="jpeg")
    (tmp_path / "cut.tiff").write_bytes(made.read_bytes()[:2000])
    (tmp_path / "text.svs").write_text("no slide" * 100)
    before = psutil.Process().num_fds()
    for name in ("cut.tiff", "text.svs", "gone.svs"):
        for _ in range(20):
            with pytest.raises(SlideError):
                Slide(tmp_path / name)
    assert psutil.Process().num_fds() == before


def test_the_cache_of_an_open_slide_is_bounded(make_slide, noise, tmp_path):
    # 5,120 x 5,120 pixels are 79 MB decoded, more than the cache may hold
    made = make_slide(tmp_path / "a.tiff", noise(5120, 5120), compression="jpeg", downsamples=(4,))
    process = psutil.Process()
    with Slide(made) as slide:
        before = process.memory_info().rss
        for y in range(0, 5120, 256):
            for x in range(0, 5120, 256):
                slide.read(x, y, 0, 256, 256)
        held = process.memory_info().rss - before
    assert held < CACHE_BYTES + 16 * 2**20
