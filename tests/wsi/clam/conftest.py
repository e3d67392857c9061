"""Slides painted by recipe, whose coordinates CLAM itself has made (``golden/clam``)."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/clam"
STRIP = 128  # rows painted at a time: arithmetic in 64 bits is large


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder of CLAM's coordinates, or skip the test."""
    if not GOLDEN.is_dir():
        pytest.skip("needs CLAM's coordinates of ../shared/spec/golden/clam")
    return GOLDEN


@pytest.fixture(scope="session")
def painted_slide(
    golden: Path, make_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function that paints a synthetic slide; its pixels are checked on the way."""
    recipes = json.loads((golden / "synthetic.json").read_text())
    folder = tmp_path_factory.mktemp("painted")

    def painted(name: str) -> Path:
        path = folder / f"{name}.tiff"
        if not path.exists():
            recipe = recipes[name]
            levels = paint(recipe)
            assert [hashlib.sha256(image).hexdigest() for image in levels] == recipe["sha256"]
            make_slide(path, levels[0], recipe["mpp"], levels=levels[1:])
        return path

    return painted


def paint(recipe: dict) -> list[np.ndarray]:
    """Return every level ``[h, w, 3]`` of a recipe (README of the golden folder)."""
    width, height = recipe["size"]
    image = np.zeros((height, width, 3), np.uint8)
    for name, *numbers, colour in recipe["ops"]:
        left, top, right, bottom = _box(name, numbers, width, height)
        for start in range(top, bottom, STRIP):
            y, x = np.ogrid[start : min(start + STRIP, bottom), left:right]
            window = image[y[0, 0] : y[-1, 0] + 1, left:right]
            shape = np.broadcast_to(SHAPES[name](x, y, *numbers), window.shape[:2])
            window[shape] = _colour(colour, x, y)[shape]
    reduced = []
    for w, h in recipe["levels"]:
        rows, columns = np.arange(h) * height // h, np.arange(w) * width // w
        reduced.append(np.ascontiguousarray(image[rows[:, None], columns]))
    return [image, *reduced]


def _box(name: str, numbers: list[int], width: int, height: int) -> tuple[int, int, int, int]:
    if name == "fill":
        return 0, 0, width, height
    if name in ("rect", "blocks"):
        box = numbers[:4]
    elif name == "ellipse":
        x, y, a, b = numbers
        box = [x - a, y - b, x + a + 1, y + b + 1]
    else:
        xs, ys = numbers[::2], numbers[1::2]
        box = [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
    left, top, right, bottom = box
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _everything(x, y, *_):
    return np.True_


def _ellipse(x, y, cx, cy, a, b):
    return (x - cx) ** 2 * b**2 + (y - cy) ** 2 * a**2 <= a**2 * b**2


def _triangle(x, y, *corners):
    corners = list(zip(corners[::2], corners[1::2], strict=True))
    sides = [
        (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return np.all([s >= 0 for s in sides], axis=0) | np.all([s <= 0 for s in sides], axis=0)


def _blocks(x, y, left, top, right, bottom, cell, below):
    keep, low = np.uint64(0xFFFFFFFF), np.uint64
    v = (x // cell).astype(low) * low(2654435761) + (y // cell).astype(low) * low(2246822519)
    v = (v + low(374761393)) & keep
    v = ((v ^ (v >> low(15))) * low(2246822519)) & keep
    v = ((v ^ (v >> low(13))) * low(3266489917)) & keep
    return ((v ^ (v >> low(16))) & low(255)) < below


SHAPES = {
    "fill": _everything,
    "rect": _everything,
    "ellipse": _ellipse,
    "triangle": _triangle,
    "blocks": _blocks,
}
FLAT = {
    "white": (255, 255, 255),
    "s8": (255, 247, 247),
    "s9": (255, 246, 246),
    "s15": (255, 240, 240),
    "s16": (255, 239, 239),
    "t90": (90, 87, 87),
    "t243": (243, 235, 235),
}


def _colour(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    k = (7 * (x // 16) + 13 * (y // 16)) & 31
    if name == "ground":
        channels = 244 - (k & 3), 243 - (k & 3), 243 - (k & 3)
    elif name == "pink":
        channels = 235 - k // 4, 150 + k, np.full_like(k, 200)
    elif name == "purple":
        channels = 130 + k, 80 + k // 2, np.full_like(k, 170)
    else:
        channels = [np.full_like(k, value) for value in FLAT[name]]
    return np.stack(channels, axis=-1).astype(np.uint8)
