"""Patches read a second on one core, and by two peers: `python benchmarks/reading.py`.

The same patches of the same slide, with the same pixels (checked): a JPEG pyramid, patches of 256
pixels on a grid that is not aligned to storage tiles, as contour grids are. Peers:

- OpenSlide, one `read_region` a patch in the order of rows, converted to RGB;
- a loop as the feature step of CLAM does: for each patch open the coordinate file, read one row,
  read the patch by OpenSlide, resize it to 224 by Pillow.

Each is a process of its own, pinned to one core, timed by CPU seconds; the best of three counts.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import openslide
from PIL import Image
from synthetic_slide import write_slide

SIZE = 256
SPARSE = 16  # pixels are summed at this step while time is measured; all are compared before
HOWS = ("direct", "direct, resized", "openslide", "clam-like")


def coordinates(width: int, height: int) -> np.ndarray:
    """Return corners of a full grid that no storage tile is aligned with, x slow and y fast."""
    steps = [np.arange(101, side - SIZE, SIZE, dtype=np.int64) for side in (width, height)]
    return np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)


def read_direct(slide: str, h5: str, resize: bool) -> int:
    """Read all patches by our reader; return a sum of some pixels."""
    from wsi.reader import Slide

    with h5py.File(h5) as file:
        coords = file["coords"][:]
    total = 0
    with Slide(slide) as opened:
        assert opened.backend == "tiff"
        for x, y in coords:
            patch, unreadable = opened.read(x, y, 0, SIZE, SIZE)
            assert not unreadable
            if resize:
                patch = np.asarray(Image.fromarray(patch).resize((224, 224), Image.BILINEAR))
            total += int(patch[::SPARSE, ::SPARSE].sum())
    return total


def read_openslide(slide: str, h5: str) -> int:
    """Read all patches by OpenSlide in the order of rows; return a sum of some pixels."""
    with h5py.File(h5) as file:
        coords = file["coords"][:]
    coords = coords[np.lexsort((coords[:, 0], coords[:, 1]))]
    total = 0
    with openslide.OpenSlide(slide) as opened:
        for x, y in coords:
            patch = opened.read_region((int(x), int(y)), 0, (SIZE, SIZE)).convert("RGB")
            total += int(np.asarray(patch)[::SPARSE, ::SPARSE].sum())
    return total


def read_like_clam(slide: str, h5: str) -> int:
    """Open the coordinate file for every patch, read by OpenSlide, resize by Pillow."""
    with h5py.File(h5) as file:
        n = len(file["coords"])
    total = 0
    with openslide.OpenSlide(slide) as opened:
        for i in range(n):
            with h5py.File(h5) as file:
                x, y = file["coords"][i]
            patch = opened.read_region((int(x), int(y)), 0, (SIZE, SIZE)).convert("RGB")
            patch = patch.resize((224, 224), Image.BILINEAR)
            total += int(np.asarray(patch)[::SPARSE, ::SPARSE].sum())
    return total


def largest_difference(slide: str, coords: np.ndarray) -> int:
    """Return the largest difference in grey levels of any pixel between the two readers."""
    from wsi.reader import Slide

    worst = 0
    with Slide(slide) as opened, openslide.OpenSlide(slide) as peer:
        for x, y in coords.tolist():
            mine, _ = opened.read(x, y, 0, SIZE, SIZE)
            theirs = np.asarray(peer.read_region((x, y), 0, (SIZE, SIZE)).convert("RGB"))
            worst = max(worst, int(np.abs(mine.astype(int) - theirs).max()))
    return worst


def measure(how: str, slide: str, h5: str) -> None:
    """Run one reader and print CPU seconds and the sum of its pixels."""
    run = {
        "direct": lambda: read_direct(slide, h5, False),
        "direct, resized": lambda: read_direct(slide, h5, True),
        "openslide": lambda: read_openslide(slide, h5),
        "clam-like": lambda: read_like_clam(slide, h5),
    }[how]
    import wsi.reader  # noqa: F401 - imports are not what is measured

    start = time.process_time()
    total = run()
    print(time.process_time() - start, total)


def main() -> None:
    """Make a slide, run every reader on it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=40_960, help="of the slide in pixels")
    parser.add_argument("--height", type=int, default=4_096, help="of the slide in pixels")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory() as name:
        slide, h5 = Path(name) / "slide.tiff", Path(name) / "coords.h5"
        write_slide(slide, arguments.width, arguments.height)
        coords = coordinates(arguments.width, arguments.height)
        with h5py.File(h5, "w") as file:
            file.create_dataset("coords", data=coords, maxshape=(None, 2), chunks=(1, 2))
        worst = largest_difference(str(slide), coords)
        best, sums = {}, {}
        for _ in range(3):
            for how in HOWS:
                command = [sys.executable, __file__, "--measure", how, str(slide), str(h5)]
                result = subprocess.run(
                    ["taskset", "-c", "0", *command], capture_output=True, text=True, check=True
                )
                seconds, total = result.stdout.split()
                best[how] = min(best.get(how, np.inf), float(seconds))
                sums[how] = int(total)
    assert sums["direct"] == sums["openslide"], "the pixels differ"
    assert sums["direct, resized"] == sums["clam-like"], "the resized pixels differ"
    print(
        f"{len(coords)} patches of {SIZE} px, slide of {arguments.width} x {arguments.height} px; "
        f"largest difference of any pixel to OpenSlide's: {worst}"
    )
    print(f"{'reader':>16} {'patches/s/core':>15} {'direct is':>10}")
    for how in HOWS:
        peer = best[how] / best["direct"]
        print(f"{how:>16} {len(coords) / best[how]:15.0f} {peer:9.2f}x")


if __name__ == "__main__":
    main()
