"""Where things lie on a simulated slide: pieces, holes, planted pattern, glands, aggregates.

All fields are at 1 um a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.noise import fractal_noise, smooth_noise


@dataclass
class Architecture:
    """Masks of one slide, bool [H, W] at 1 um a pixel.

    Attributes
    ----------
    tissue : tissue without its holes.
    pattern : the planted pattern, a part of the tissue: nests and the septa between them.
    nests : tumour cells, the pattern without its septa.
    gland_room : tissue in which glands may lie.
    lymphoid : aggregates of lymphocytes, outside the pattern.
    """

    tissue: NDArray[np.bool_]
    pattern: NDArray[np.bool_]
    nests: NDArray[np.bool_]
    gland_room: NDArray[np.bool_]
    lymphoid: NDArray[np.bool_]


def plan_architecture(
    rng: np.random.Generator, shape: tuple[int, int], fraction: float
) -> Architecture:
    """Lay out one slide so that the pattern takes the wanted share of its tissue.

    Parameters
    ----------
    rng : source of the draws.
    shape : height and width in um.
    fraction : share of the tissue area that the pattern takes, 0 to 1.
    """
    field = fractal_noise(rng, shape, {_blob_scale(shape): 1.0, 80: 0.25, 28: 0.10})
    pieces = _pieces(rng, shape)
    inside = field[pieces]
    # Fat takes the ground where the field is lowest, so it never competes with the pattern.
    fat_share = min(0.10, 0.25 * (1 - fraction)) * rng.uniform(0, 1)
    fat = pieces & (field < np.quantile(inside, fat_share))
    tissue = pieces & ~_vacuoles(rng, fat) & ~_clefts(rng, shape)
    pattern = tissue & (field > np.quantile(field[tissue], 1 - fraction))
    ridges = np.minimum(np.abs(smooth_noise(rng, shape, 75)), np.abs(smooth_noise(rng, shape, 95)))
    nests = pattern & (ridges > 0.085)
    benign = tissue & ~pattern & ~fat
    gland_room = benign & (smooth_noise(rng, shape, 260) > -0.35)
    lymphoid = _aggregates(rng, shape) & benign
    return Architecture(tissue, pattern, nests, gland_room & ~lymphoid, lymphoid)


def _blob_scale(shape: tuple[int, int]) -> float:
    """Return the size of a pattern blob: wider than a 256 um patch where the slide allows it."""
    return float(min(330, min(shape) / 3))


def _pieces(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return one to three pieces of tissue with smooth irregular edges."""
    height, width = shape
    y, x = np.ogrid[0 : np.float32(height), 0 : np.float32(width)]
    y, x = y / height - 0.5, x / width - 0.5
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    if count == 1:
        centres, spread = [(0.0, 0.0)], (0.44, 0.42)
    else:
        offsets = (np.arange(count) - (count - 1) / 2) / count
        centres, spread = [(o * 1.0, 0.0) for o in offsets], (0.42 / count, 0.43)
        if height > width or (height == width and rng.random() < 0.5):
            centres, spread = [(b, a) for a, b in centres], spread[::-1]
    outline = np.full(shape, -9.0, dtype=np.float32)
    for cx, cy in centres:
        cx, cy = cx + rng.normal(0, 0.012), cy + rng.normal(0, 0.02)
        a, b = spread[0] * rng.uniform(0.92, 1.06), spread[1] * rng.uniform(0.88, 1.06)
        # Exponent above two: fuller than an ellipse, as embedded tissue is.
        radius = (np.abs((x - cx) / a) ** 2.6 + np.abs((y - cy) / b) ** 2.6) ** (1 / 2.6)
        np.maximum(outline, (1 - radius) * min(a, b) / 0.4, out=outline)
    side = min(shape)
    edge = fractal_noise(rng, shape, {side / 4: 0.045, side / 10: 0.025, side / 30: 0.006})
    return outline + edge > 0


def _vacuoles(rng: np.random.Generator, fat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the fat cells of the fat region: round holes with thin walls between them."""
    canvas = np.zeros(fat.shape, dtype=np.uint8)
    for x, y in jittered_grid(rng, fat, 52, 0.16):
        axes = (int(rng.uniform(19, 26) * 16), int(rng.uniform(19, 26) * 16))
        centre = (int(x * 16), int(y * 16))
        cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1, cv2.LINE_8, 4)
    return canvas.astype(bool)


def _clefts(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the narrow cracks that cutting leaves."""
    line = np.abs(smooth_noise(rng, shape, 210) + 0.15 * smooth_noise(rng, shape, 30))
    where = smooth_noise(rng, shape, 240)
    return line < 0.022 * (where - 0.7)


def _aggregates(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return up to four round aggregates: dark as the pattern is, and not part of it."""
    canvas = np.zeros(shape, dtype=np.uint8)
    for _ in range(int(rng.integers(0, 5))):
        centre = (int(rng.uniform(0, shape[1])), int(rng.uniform(0, shape[0])))
        axes = (int(rng.uniform(40, 85)), int(rng.uniform(40, 85)))
        cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    return canvas.astype(bool)


def jittered_grid(
    rng: np.random.Generator, mask: NDArray[np.bool_], spacing: float, jitter: float
) -> NDArray[np.float64]:
    """Return points of a disturbed hexagonal grid that fall on the mask.

    Parameters
    ----------
    rng : source of the draws.
    mask : bool [H, W].
    spacing : distance between neighbours, in pixels.
    jitter : standard deviation of the disturbance as a share of the spacing.

    Returns
    -------
    float64 [N, 2]: x and y.
    """
    height, width = mask.shape
    step = spacing * np.sqrt(3) / 2
    rows = np.arange(-1, height / step + 1)
    columns = np.arange(-1, width / spacing + 1)
    y, x = np.meshgrid(rows * step, columns * spacing, indexing="ij")
    x = x + (np.arange(len(rows)) % 2)[:, None] * spacing / 2
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    points += rng.normal(0, jitter * spacing, size=points.shape)
    column, row = np.floor(points).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    points, column, row = points[inside], column[inside], row[inside]
    return points[mask[row, column]]
