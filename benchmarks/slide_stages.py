"""Tissue and both levels of patches of a large slide: `python benchmarks/slide_stages.py`.

Two figures, each a process of its own on one core:

- the stages as the workflow runs them: tissue, pen, folds and stain on the overview, both levels of
  patches with their measures, both files, both pictures;
- CLAM's tissue and coordinates alone, ours against a peer: OpenCV's steps as the specification
  (wsi 1 and 2) has them, for each piece a pool of four processes that test point by point. Both
  read the level by their own reader, find tissue and lay level 2 and level 1; coordinates are
  compared.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import openslide
from clam_coordinates import peer_coordinates
from synthetic_slide import write_slide

from wsi.clam.grid import contour_grid, footprint
from wsi.clam.segmentation import PRESETS, choose_level, segment
from wsi.patches import make_patches
from wsi.reader import Slide
from wsi.tissue import find_tissue

SIDE, PIECES, PATCH = 40_000, 20, 256
RULE = "four_pt"
LIMITS = {"close_um": 30, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}
PATCHES = {
    "size": PATCH,
    "step": None,
    "grid": "slide",
    "rule": "fraction",
    "min_tissue": 0.25,
    "padding": True,
    "pad": "background",
}


def stages(slide: str, folder: str) -> str:
    """Run both stages as the workflow does."""
    files = {name: f"{folder}/{name}" for name in ("s.geojson", "s.jpg", "2.h5", "1.h5", "g.jpg")}
    found = find_tissue(
        slide_id="s",
        slide=slide,
        tissue=files["s.geojson"],
        thumbnail=files["s.jpg"],
        mpp=None,
        scale_by="mpp",
        parameters={"preset": "default", **LIMITS},
    )
    laid = make_patches(
        slide_id="s",
        slide=slide,
        tissue=files["s.geojson"],
        thumbnail=files["s.jpg"],
        level2=files["2.h5"],
        level1=files["1.h5"],
        picture=files["g.jpg"],
        scale={"by": "mpp", "coarse": 4.0, "fine": 1.0},
        patches=PATCHES,
    )
    assert found.ok, found.reason
    assert laid.ok, laid.reason
    return ""


def ours(slide: str, folder: str) -> str:
    """Find tissue as CLAM does and lay level 2 and level 1."""
    with Slide(slide) as opened:
        levels = opened.level_dimensions
        level = choose_level(levels)
        rgb, _ = opened.read(0, 0, level, *levels[level])
    pieces = segment(rgb, levels[0], PRESETS["tcga"])
    sides = [footprint(levels, level, PATCH) for level in (2, 1)]
    return _said([contour_grid(pieces, levels[0], side, side, RULE) for side in sides], pieces)


def peer(slide: str, folder: str) -> str:
    """Do the same with OpenSlide, OpenCV and a pool of processes for each piece."""
    parameters = PRESETS["tcga"]
    with openslide.OpenSlide(slide) as opened:
        levels = opened.level_dimensions
        level = max(i for i, ds in enumerate(opened.level_downsamples) if ds <= 64)
        rgb = np.array(opened.read_region((0, 0), level, levels[level]))[..., :3]
    saturation = cv2.medianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1], parameters.mthresh)
    _, mask = cv2.threshold(saturation, parameters.sthresh, 255, cv2.THRESH_BINARY)
    kernel = np.ones((parameters.close, parameters.close), np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    scale = np.array(levels[0]) / levels[level]
    reference = int(512**2 / scale.prod())
    contours, (tree,) = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for i in (i for i in range(len(contours)) if tree[i][3] < 0):
        holes = [contours[j] for j in range(len(contours)) if tree[j][3] == i]
        area = cv2.contourArea(contours[i]) - sum(map(cv2.contourArea, holes))
        if area > parameters.a_t * reference:
            holes = sorted(holes, key=cv2.contourArea, reverse=True)[: parameters.max_n_holes]
            holes = [h for h in holes if cv2.contourArea(h) > parameters.a_h * reference]
            rings = [contours[i], *holes]
            pieces.append([(ring[:, 0] * scale).astype(np.int32) for ring in rings])
    coords = []
    for level in (2, 1):
        side = tuple(PATCH * int(w0 / w) for w0, w in zip(levels[0], levels[level], strict=True))
        coords.append(peer_coordinates(pieces, levels[0], side, side, RULE))
    return _said(coords, pieces)


def _said(coords: list[np.ndarray], pieces: list) -> str:
    return f"{len(pieces)} pieces, {len(coords[0])} + {len(coords[1])} patches, " + " ".join(
        str(hash(array.tobytes())) for array in coords
    )


RUNS = {"stages": stages, "CLAM, ours": ours, "CLAM, peer": peer}


def main() -> None:
    """Make a slide, run everything on it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", help="a slide made before; where there is none it is made")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(arguments.slide or f"{folder}/slide.tiff")
        if arguments.measure:
            start = time.perf_counter()
            said = RUNS[arguments.measure[0]](arguments.measure[1], folder)
            print(time.perf_counter() - start, said)
            return
        if not slide.exists():
            write_slide(slide, SIDE, SIDE, downsamples=(1, 4, 16, 64), pieces=PIECES)
        best, said = {}, {}
        for _ in range(3):
            for how in RUNS:
                command = [sys.executable, __file__, "--measure", how, str(slide)]
                result = subprocess.run(
                    ["env", "PYTHONHASHSEED=0", "taskset", "-c", "0", *command],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                seconds, _, said[how] = result.stdout.strip().partition(" ")
                best[how] = min(best.get(how, np.inf), float(seconds))
    assert said["CLAM, ours"] == said["CLAM, peer"], "the coordinates differ"
    print(f"slide of {SIDE} x {SIDE} px; CLAM: {said['CLAM, ours'].rsplit(',', 1)[0]}")
    for how, seconds in best.items():
        print(f"{how:>12} {seconds:7.2f} s")
    print(f"the peer takes {best['CLAM, peer'] / best['CLAM, ours']:.1f} times as long as ours")


if __name__ == "__main__":
    main()
