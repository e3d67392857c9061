"""What goes wrong at the bench: folds of the section and pen marks on the glass."""

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.noise import smooth_noise

PENS = {"blue": (0.30, 0.42, 0.86), "green": (0.28, 0.72, 0.50), "black": (0.22, 0.22, 0.26)}


def add_fold(
    rng: np.random.Generator,
    tissue: NDArray[np.bool_],
    eosin: NDArray[np.float32],
    haematoxylin: NDArray[np.float32],
    nuclei: NDArray[np.uint8],
) -> None:
    """Double the tissue along a curved band, in place (maps [H, W], nuclei [2H, 2W])."""
    height, width = tissue.shape
    y, x = np.ogrid[0 : np.float32(height), 0 : np.float32(width)]
    turn = rng.uniform(0, np.pi)
    centre = rng.uniform(0.35, 0.65, 2)
    line = np.cos(turn) * (x - centre[0] * width) + np.sin(turn) * (y - centre[1] * height)
    line += 0.03 * min(height, width) * smooth_noise(rng, tissue.shape, min(height, width) / 4)
    along = -np.sin(turn) * (x - centre[0] * width) + np.cos(turn) * (y - centre[1] * height)
    half = (
        0.014 * min(height, width) * np.clip(1 - (along / (0.45 * min(height, width))) ** 2, 0, 1)
    )
    band = cv2.GaussianBlur((np.abs(line) < half).astype(np.float32), (0, 0), 1.5) * tissue
    eosin *= 1 + 1.1 * band
    haematoxylin *= 1 + 1.3 * band
    # The upper layer brings its own nuclei: those of the tissue beside the band.
    shift = max(4, int(0.06 * min(height, width)))
    upper = np.roll(nuclei, (shift, -shift), axis=(0, 1))
    inside = cv2.resize(band, nuclei.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    nuclei[inside] = np.maximum(nuclei, upper)[inside]


def add_pen(
    rng: np.random.Generator, base: NDArray[np.uint8], tissue: NDArray[np.bool_], colour: str
) -> None:
    """Draw a pen stroke along the edge of the tissue or across a corner, in place ([H, W, 3])."""
    height, width = tissue.shape
    side = min(height, width)
    t = np.linspace(0, 1, 60)
    corner = rng.integers(0, 4)
    start, stop, bulge = rng.uniform(0.05, 0.3), rng.uniform(0.4, 0.75), rng.uniform(0.02, 0.10)
    along = start + (stop - start) * t
    across = 0.045 + bulge * np.sin(np.pi * t) + 0.006 * np.sin(9 * t + rng.uniform(0, 6))
    x, y = (along, across) if corner % 2 else (across, along)
    if corner >= 2:
        x, y = 1 - x, 1 - y
    points = np.stack([x * width, y * height], axis=1)
    stroke = np.zeros(tissue.shape, dtype=np.uint8)
    line = np.rint(points * 16).astype(np.int32).reshape(-1, 1, 2)
    thickness = max(6, int(side * rng.uniform(0.022, 0.04)))
    cv2.polylines(stroke, [line], False, 255, thickness, cv2.LINE_AA, 4)
    ink = cv2.GaussianBlur(stroke, (0, 0), 1.5).astype(np.float32) / 255
    # Ink pools at the rims of a stroke and is thin in its middle.
    depth = cv2.distanceTransform((stroke > 127).astype(np.uint8), cv2.DIST_L2, 3)
    ink *= 0.80 + 0.25 * np.exp(-depth / 5) + 0.07 * smooth_noise(rng, tissue.shape, 25)
    ink = np.clip(ink, 0, 1.1)
    for channel, light in enumerate(PENS[colour]):
        shade = base[..., channel] * np.exp(np.log(light) * ink)
        base[..., channel] = np.rint(shade).astype(np.uint8)
