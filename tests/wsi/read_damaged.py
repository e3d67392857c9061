"""Reads slides one after another and says how each ended: `python read_damaged.py < cases`.

A line of standard input is a path and, after a tab, the folder of the healthy pixels (or nothing).
A line of standard output is JSON; a crash or a hang is then known to be the next file's.
"""

import json
import logging
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.scale import find_mpp
from wsi.tissue import MASK_MPP

MEMORY = 3 * 2**30  # bytes of address space; a damaged header may ask for more
CELL = 32  # side in pixels of the areas that are compared
GROSS = 24  # grey levels of difference of the mean of an area that must be marked
REGION = 700  # side of the regions read, not aligned with storage tiles


def read_levels(slide: Slide) -> list[np.ndarray]:
    """Return the pixels of every level, read in regions as patches are."""
    levels = []
    for level, (width, height) in enumerate(slide.level_dimensions):
        pixels = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, REGION):
            for left in range(0, width, REGION):
                w, h = min(REGION, width - left), min(REGION, height - top)
                pixels[top : top + h, left : left + w] = slide._read(level, left, top, w, h)[0]
        levels.append(pixels)
    return levels


def examine(path: str, healthy: str) -> dict:
    """Open a slide, take its overview, read all of it, compare it with the healthy one."""
    try:
        with Slide(path) as slide:
            try:
                mpp, _ = find_mpp(slide)
            except SlideError:
                mpp = 0.25
            slide.overview(MASK_MPP / mpp)
            share = slide.unreadable_share
            levels = read_levels(slide)
            found = {
                "ending": "opened",
                "backend": slide.backend,
                "marked": len(slide.damaged),
                "overview_unreadable": share,
            }
            expected = [np.load(file) for file in sorted(Path(healthy).glob("*.npy"))]
            return found | (compare(slide, levels, expected) if healthy else {})
    except SlideError as error:
        return {"ending": error.kind, "sentence": str(error)}


def compare(slide: Slide, levels: list[np.ndarray], expected: list[np.ndarray]) -> dict:
    """Return for each level the largest unmarked difference of an area, and of a pixel."""
    gross, small = [], 0
    for level, pixels in enumerate(levels):
        # a damaged directory may hide a level, or make it a little wider than its tiles show
        wanted = min(expected, key=lambda other: abs(other.shape[1] - pixels.shape[1]))
        height, width = (min(pair) for pair in zip(pixels.shape[:2], wanted.shape[:2], strict=True))
        pixels, wanted = pixels[:height, :width].copy(), wanted[:height, :width]
        marked = marked_area(slide, level, height, width)
        pixels[marked] = wanted[marked]  # may be anything, since it is marked
        small = max(small, int(cv2.absdiff(pixels, wanted).max(initial=0)))
        rows, columns = height // CELL, width // CELL
        means = [
            cv2.resize(
                one[: rows * CELL, : columns * CELL], (columns, rows), interpolation=cv2.INTER_AREA
            )
            for one in (pixels, wanted)
        ]
        gross.append(int(cv2.absdiff(*means).max(initial=0)))
    sizes = [tuple(pixels.shape) for pixels in levels]
    return {
        "gross": gross,
        "small": small,
        "same_levels": sizes == [tuple(pixels.shape) for pixels in expected],
    }


def marked_area(slide: Slide, level: int, height: int, width: int) -> np.ndarray:
    """Return where the slide says that pixels could not be read."""
    marked = np.zeros((height, width), bool)
    tile_width, tile_height = slide.storage_tile(level)
    for number, column, row in slide.damaged:
        if number == level:
            x, y = column * tile_width, row * tile_height
            marked[y : y + tile_height, x : x + tile_width] = True
    return marked


def main() -> None:
    """Read what standard input names."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.WARNING)
    cv2.setNumThreads(1)
    for line in sys.stdin:
        path, healthy = line.rstrip("\n").split("\t")
        start = time.monotonic()
        try:
            result = examine(path, healthy)
        except Exception as error:  # must not happen; said, so that the test can name the file
            result = {"ending": "exception", "sentence": f"{type(error).__name__}: {error}"}
        print(json.dumps(result | {"seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
