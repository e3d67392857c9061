"""Glands: rings of epithelium with basal nuclei around a lumen."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.architecture import jittered_grid
from demo.nuclei import SHIFT, NucleiCanvas

SMALLEST = 24  # um; below this radius a ring of nuclei leaves no lumen


@dataclass(frozen=True)
class Gland:
    """One gland: centre and radius in um, and the waves that make its outline uneven."""

    x: float
    y: float
    radius: float
    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    def outline(self, angles: NDArray[np.float64], inset: float) -> NDArray[np.float64]:
        """Return the points [N, 2] that lie `inset` um inside the edge at these angles [N]."""
        turns = np.outer(angles, (2, 3, 5)) + self.phases  # [N, 3]
        reach = self.radius * (1 + np.cos(turns) @ self.waves) - inset
        return np.stack([self.x + reach * np.cos(angles), self.y + reach * np.sin(angles)], axis=1)


def draw_glands(
    rng: np.random.Generator, room: NDArray[np.bool_], canvas: NucleiCanvas
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw as many glands as there is room for.

    Parameters
    ----------
    rng : source of the draws.
    room : bool [H, W], where glands may lie.
    canvas : takes the nuclei.

    Returns
    -------
    epithelium, lumen : bool [H, W].
    """
    # Padded, so that the slide's edge counts as the end of the room.
    distance = cv2.distanceTransform(np.pad(room, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    epithelium = np.zeros(room.shape, dtype=np.uint8)
    lumen = np.zeros(room.shape, dtype=np.uint8)
    around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    for x, y in jittered_grid(rng, room, 118, 0.13):
        radius = min(rng.uniform(28, 58), 0.85 * distance[int(y), int(x)])
        waves, phases = rng.normal(0, [0.11, 0.07, 0.04]), rng.uniform(0, 2 * np.pi, 3)
        gland = Gland(x, y, radius, waves, phases)
        thickness, shade = rng.uniform(13, 18), rng.uniform(150, 195)
        if radius >= SMALLEST:
            _fill(epithelium, gland.outline(around, 0))
            _fill(lumen, gland.outline(around, min(thickness, radius * 0.6)))
            _draw_nuclei(rng, gland, shade, canvas)
    lumen &= epithelium
    return (epithelium > 0) & (lumen == 0), lumen > 0


def _draw_nuclei(
    rng: np.random.Generator, gland: Gland, shade: float, canvas: NucleiCanvas
) -> None:
    """Draw the ring of nuclei near the gland's base, long axis towards the lumen."""
    count = int(2 * np.pi * gland.radius / 5.6)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.02, count)
    points = gland.outline(angles, 5.0) + rng.normal(0, 0.9, (count, 2))
    long, short = rng.uniform(3.2, 4.8, count), rng.uniform(1.9, 2.6, count)
    turn = np.degrees(angles) + rng.normal(0, 8, count)
    canvas.ellipses(points, long, short, turn, shade + rng.normal(0, 14, count))


def _fill(mask: NDArray[np.uint8], polygon: NDArray[np.float64]) -> None:
    points = np.rint(polygon * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [points], 1, cv2.LINE_8, SHIFT)
