"""CLAM's coordinates, ours against an ordinary program: `python benchmarks/clam_coordinates.py`.

The peer follows the specification (wsi 2) as a program usually would: for each piece of tissue it
starts a pool of four processes and tests point by point with OpenCV. The second peer does the same
in one process, without a pool. All get the same pieces.
"""

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from wsi.clam.grid import contour_grid, footprint
from wsi.clam.segmentation import PRESETS, choose_level, segment

PATCH = 256
PROCESSES = 4
PIECES = 20
TIMES = 5

_piece: dict[str, object] = {}  # what a worker of the peer's pool knows


def peer_coordinates(
    pieces: Sequence[Sequence[np.ndarray]],
    dimensions: tuple[int, int],
    footprint: tuple[int, int],
    step: tuple[int, int],
    rule: str = "four_pt",
    padding: bool = True,
    processes: int = PROCESSES,
) -> np.ndarray:
    """Return what :func:`wsi.clam.grid.contour_grid` returns, point by point.

    With `processes` 0 no pool is started.
    """
    found = [np.zeros((0, 2), np.int64)]
    for outline, *holes in pieces:
        x, y, width, height = cv2.boundingRect(outline)
        x_stop, y_stop = x + width, y + height
        if not padding:
            x_stop = min(x_stop, dimensions[0] - footprint[0] + 1)
            y_stop = min(y_stop, dimensions[1] - footprint[1] + 1)
        points = [(i, j) for i in range(x, x_stop, step[0]) for j in range(y, y_stop, step[1])]
        arguments = (outline, holes, footprint[0], rule)
        if processes:
            with multiprocessing.get_context("fork").Pool(processes, _start, arguments) as pool:
                accepted = pool.starmap(_accepts, points)
        else:
            _start(*arguments)
            accepted = list(itertools.starmap(_accepts, points))
        kept = [point for point, keep in zip(points, accepted, strict=True) if keep]
        found.append(np.array(kept, np.int64).reshape(-1, 2))
    return np.concatenate(found)


def _start(outline: np.ndarray, holes: list[np.ndarray], side: int, rule: str) -> None:
    _piece.update(outline=outline, holes=holes, side=side, rule=rule)


def _accepts(x: int, y: int) -> bool:
    side = _piece["side"]
    cx, cy, s = x + side // 2, y + side // 2, int((side // 2) * 0.5)
    points, join = {
        "basic": ([(x, y)], all),
        "center": ([(cx, cy)], all),
        "four_pt": ([(cx + i, cy + j) for i in (-s, s) for j in (-s, s)], any),
        "four_pt_hard": ([(cx + i, cy + j) for i in (-s, s) for j in (-s, s)], all),
    }[_piece["rule"]]
    if not join(_test(_piece["outline"], point) >= 0 for point in points):
        return False
    centre = x + side / 2, y + side / 2
    return not any(_test(hole, centre) > 0 for hole in _piece["holes"])


def _test(ring: np.ndarray, point: tuple[float, float]) -> float:
    return cv2.pointPolygonTest(ring, (float(point[0]), float(point[1])), False)


def draw_thumbnail(side: int) -> np.ndarray:
    """Return a slide's segmentation level with about twenty ragged pieces that have holes."""
    rng = np.random.default_rng(0)
    image = np.full((side, side, 3), 243, np.uint8)
    across = 5
    cell = side / across
    for number in range(PIECES):
        middle = np.array([number % across + 0.5, number // across + 0.6]) * cell
        angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        radius = cell * (0.38 + 0.05 * np.sin(5 * angle) + 0.03 * rng.standard_normal(200))
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        cv2.fillPoly(
            image, [np.rint(middle + radius[:, None] * direction).astype(int)], (200, 110, 180)
        )
        for _ in range(3):
            centre = np.rint(middle + rng.uniform(-0.2, 0.2, 2) * cell).astype(int).tolist()
            cv2.circle(image, centre, round(cell * rng.uniform(0.04, 0.09)), (243, 243, 243), -1)
    return image


def best_time(work: Callable[[], object]) -> tuple[float, object]:
    """Return the shortest of some runs in seconds, and what the work gave."""
    shortest = np.inf
    for _ in range(TIMES):
        start = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest, result


def main() -> None:
    """Time all on one slide and check that they agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=40_000, help="of level 0, in pixels")
    side = parser.parse_args().side
    levels = [(side // 4**level,) * 2 for level in range(4)]
    rgb = draw_thumbnail(levels[choose_level(levels)][0])
    seconds, pieces = best_time(lambda: segment(rgb, levels[0], PRESETS["tcga"]))
    holes = sum(len(piece) - 1 for piece in pieces)
    print(f"{len(pieces)} pieces with {holes} holes, segmented for all in {1000 * seconds:.1f} ms")
    print(
        f"{'level':>5} {'rule':>12} {'patches':>8} {'ours':>7} {'pool':>7} {'serial':>7} ms", end=""
    )
    print(f"{'pool/ours':>11} {'serial/ours':>12}")
    for level, rule in ((2, "four_pt"), (1, "four_pt"), (1, "four_pt_hard"), (0, "four_pt")):
        area = footprint(levels, level, PATCH)
        task = pieces, levels[0], area, area, rule
        ours, coords = best_time(partial(contour_grid, *task))
        pool, expected = best_time(partial(peer_coordinates, *task))
        serial, _ = best_time(partial(peer_coordinates, *task, processes=0))
        if not np.array_equal(coords, expected):
            raise SystemExit(f"level {level}, {rule}: the coordinates differ")
        times = " ".join(f"{1000 * seconds:7.1f}" for seconds in (ours, pool, serial))
        ratios = f"{pool / ours:11.0f} {serial / ours:12.1f}"
        print(f"{level:5} {rule:>12} {len(coords):8} {times}   {ratios}")


if __name__ == "__main__":
    main()
