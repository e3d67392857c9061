"""Nuclei, drawn as ellipses on a canvas of 0.5 um a pixel."""

import cv2
import numpy as np
from numpy.typing import NDArray

SCALE = 2  # canvas pixels per um
SHIFT = 4  # fractional bits of OpenCV's coordinates


class NucleiCanvas:
    """Amount of haematoxylin in nuclei, uint8 [2H, 2W] for a slide of [H, W] um.

    Points are float64 [N, 2] in um, x and y.
    """

    def __init__(self, shape: tuple[int, int]):
        self.image = np.zeros((shape[0] * SCALE, shape[1] * SCALE), dtype=np.uint8)

    def spindle(
        self,
        rng: np.random.Generator,
        points: NDArray[np.float64],
        angle: NDArray[np.float32],
    ) -> None:
        """Draw thin nuclei that lie along the fibres; `angle` in radians, [H, W]."""
        column, row = points.astype(int).T
        turn = np.degrees(angle[row, column]) + rng.normal(0, 9, len(points))
        long, short = rng.uniform(4.0, 8.0, len(points)), rng.uniform(1.0, 1.8, len(points))
        self.ellipses(points, long, short, turn, rng.uniform(120, 200, len(points)))

    def lymphocytes(self, rng: np.random.Generator, points: NDArray[np.float64]) -> None:
        """Draw small round dark nuclei."""
        radius = rng.uniform(2.3, 3.1, len(points))
        turn = rng.uniform(0, 180, len(points))
        shade = rng.uniform(190, 250, len(points))
        self.ellipses(points, radius, radius * rng.uniform(0.85, 1, len(points)), turn, shade)

    def tumour(self, rng: np.random.Generator, points: NDArray[np.float64]) -> None:
        """Draw large crowded nuclei of uneven size, many with a rim and a nucleolus."""
        count = len(points)
        long = np.clip(rng.normal(4.5, 0.8, count), 2.8, 7.0)
        short = long * rng.uniform(0.62, 0.95, count)
        turn = rng.uniform(0, 180, count)
        shade = np.clip(rng.normal(158, 30, count), 95, 240)
        self.ellipses(points, long, short, turn, shade)
        rim = rng.random(count) < 0.6
        self.ellipses(points[rim], long[rim], short[rim], turn[rim], shade[rim] + 40, 1)
        dot = rng.random(count) < 0.4
        small = np.full(dot.sum(), 0.8)
        spot = points[dot] + rng.normal(0, 0.8, (dot.sum(), 2))
        self.ellipses(spot, small, small, turn[dot], shade[dot] + 55)

    def ellipses(
        self,
        points: NDArray[np.float64],
        long: NDArray[np.float64],
        short: NDArray[np.float64],
        turn: NDArray[np.float64],
        shade: NDArray[np.float64],
        thickness: int = -1,
    ) -> None:
        """Draw ellipses: half axes in um, turn in degrees, shade 0 to 255."""
        unit = SCALE << SHIFT
        centres = np.rint(points * unit).astype(int).tolist()
        axes = np.rint(np.stack([long, short], axis=1) * unit).astype(int).tolist()
        shades = np.clip(shade, 0, 255).tolist()
        for centre, axis, degrees, value in zip(centres, axes, turn.tolist(), shades, strict=True):
            cv2.ellipse(
                self.image, centre, axis, degrees, 0, 360, value, thickness, cv2.LINE_AA, SHIFT
            )

    def clip(self, tissue: NDArray[np.bool_]) -> None:
        """Remove what lies outside the tissue, bool [H, W]."""
        size = self.image.shape[1], self.image.shape[0]
        mask = cv2.resize(tissue.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
        self.image = cv2.multiply(self.image, mask, scale=1 / 255)
