"""Random fields and textures that the simulated tissue is painted with."""

import cv2
import numpy as np
from numpy.typing import NDArray

COARSE = 60


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    """Return a smooth random field of about unit variance.

    Parameters
    ----------
    rng : source of the draws.
    shape : height and width in pixels.
    scale : distance in pixels over which the field changes.

    Returns
    -------
    float32 [H, W]: normal draws on a grid of the given spacing, interpolated by cubics.
    """
    if scale >= COARSE:
        # A field that changes slowly is interpolated on a grid four times as wide: cheaper.
        small = (-(-shape[0] // 4), -(-shape[1] // 4))
        field = smooth_noise(rng, small, scale / 4)
        field = cv2.resize(field, (small[1] * 4, small[0] * 4), interpolation=cv2.INTER_LINEAR)
        return field[: shape[0], : shape[1]]
    height, width = shape
    rows, columns = int(np.ceil(height / scale)) + 4, int(np.ceil(width / scale)) + 4
    knots = rng.standard_normal((rows, columns), dtype=np.float32)
    # A random offset below one spacing keeps the grid's nodes off the slide's corner.
    shift = rng.uniform(1.0, 2.0, size=2)
    matrix = np.array([[1 / scale, 0, shift[0]], [0, 1 / scale, shift[1]]], dtype=np.float32)
    field = cv2.warpAffine(
        knots, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    return field * np.float32(1.4)


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], scales: dict[float, float]
) -> NDArray[np.float32]:
    """Return a weighted sum of smooth fields, ``{scale in pixels: weight}``; float32 [H, W]."""
    total = np.zeros(shape, dtype=np.float32)
    for scale, weight in scales.items():
        total += np.float32(weight) * smooth_noise(rng, shape, scale)
    return total


def tileable_noise(
    rng: np.random.Generator, side: int, sigma_x: float, sigma_y: float
) -> NDArray[np.float32]:
    """Return Gaussian-filtered white noise whose edges meet, unit variance; float32 [side, side].

    Different widths in x and y give streaks, equal ones a grain.
    """
    noise = rng.standard_normal((side, side), dtype=np.float32)
    pad = int(4 * max(sigma_x, sigma_y)) + 2
    wrapped = cv2.copyMakeBorder(noise, pad, pad, pad, pad, cv2.BORDER_WRAP)
    blurred = cv2.GaussianBlur(wrapped, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    inner = blurred[pad : pad + side, pad : pad + side]
    return (inner - inner.mean()) / inner.std()


def warped_fibres(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return wavy collagen: streaks that follow a smoothly turning direction.

    Streaked noise is sampled at coordinates that a smooth field displaces (domain warping), which
    bends straight streaks into waves without filtering along curves.

    Returns
    -------
    fibres, bundles : float32 [H, W], unit variance; fine fibres and the coarse bundles they form.
    angle : float32 [H, W], local direction in radians.
    """
    height, width = shape
    turn = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    y, x = np.ogrid[0 : np.float32(height), 0 : np.float32(width)]
    along = c * x + s * y + 40 * smooth_noise(rng, shape, 330)
    across = -s * x + c * y + 60 * smooth_noise(rng, shape, 360) + 9 * smooth_noise(rng, shape, 70)
    fine = tileable_noise(rng, 512, 14.0, 0.9)
    coarse = tileable_noise(rng, 512, 38.0, 4.0)
    fibres = cv2.remap(fine, along % 512, across % 512, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
    bundles = cv2.remap(coarse, along % 512, across % 512, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
    # Fibres run where `across` is constant: at right angles to its gradient.
    slope_x = cv2.Sobel(across, cv2.CV_32F, 1, 0)
    slope_y = cv2.Sobel(across, cv2.CV_32F, 0, 1)
    return fibres, bundles, np.arctan2(-slope_x, slope_y)
