"""Paint one simulated H&E slide at 1 um a pixel, nuclei at 0.5 um.

Colour follows Beer and Lambert: each pixel holds an amount of haematoxylin and of eosin, and light
is what both leave of the lamp's white (Ruifrok and Johnston, Anal Quant Cytol Histol 2001).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.architecture import Architecture, jittered_grid, plan_architecture
from demo.artefacts import add_fold, add_pen
from demo.glands import draw_glands
from demo.noise import smooth_noise, warped_fibres
from demo.nuclei import NucleiCanvas


@dataclass(frozen=True)
class Stain:
    """Colours of one slide: lamp white [3] and optical density per unit of each dye [3], RGB."""

    white: tuple[float, float, float]
    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]


@dataclass
class Painting:
    """One slide before magnification.

    Attributes
    ----------
    base : uint8 [H, W, 3], RGB at 1 um a pixel, everything but the nuclei.
    density : uint8 [H, W], how much stained matter there is, for grain.
    nuclei : uint8 [2H, 2W], haematoxylin of the nuclei at 0.5 um a pixel.
    tissue, pattern : bool [H, W].
    stain : colours.
    """

    base: NDArray[np.uint8]
    density: NDArray[np.uint8]
    nuclei: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    pattern: NDArray[np.bool_]
    stain: Stain


def draw_stain(rng: np.random.Generator) -> Stain:
    """Draw the colours of one slide: laboratories differ in strength and hue, a little."""
    h_strength, e_strength = rng.uniform(0.90, 1.12), rng.uniform(0.88, 1.15)
    h = np.array([0.43, 0.53, 0.22]) * h_strength * rng.normal(1, 0.035, 3)
    e = np.array([0.055, 0.34, 0.165]) * e_strength * rng.normal(1, 0.05, 3)
    white = np.array([243, 242, 244]) + rng.uniform(-3, 3) + rng.normal(0, 0.8, 3)
    return Stain(tuple(white.tolist()), tuple(h.tolist()), tuple(e.tolist()))


def paint_slide(
    seed: int,
    shape: tuple[int, int],
    fraction: float | None,
    pen: str = "",
    fold: bool = False,
) -> Painting:
    """Paint one slide.

    Parameters
    ----------
    seed : seed of everything on this slide.
    shape : height and width in um.
    fraction : share of the tissue that is pattern; None paints a blank slide.
    pen : colour of a pen mark (blue, green, black) or "".
    fold : whether a fold crosses the tissue.
    """
    rng = np.random.default_rng(seed)
    stain = draw_stain(rng)
    eosin = np.zeros(shape, dtype=np.float32)
    haematoxylin = np.zeros(shape, dtype=np.float32)
    canvas = NucleiCanvas(shape)
    if fraction is None:
        tissue = pattern = np.zeros(shape, dtype=bool)
    else:
        plan = plan_architecture(rng, shape, fraction)
        tissue, pattern = plan.tissue, plan.pattern
        _paint_tissue(rng, plan, eosin, haematoxylin, canvas)
        if fold:
            add_fold(rng, plan.tissue, eosin, haematoxylin, canvas.image)
    base = _light(rng, stain, eosin, haematoxylin)
    if pen:
        add_pen(rng, base, tissue, pen)
    density = np.clip(eosin * 150 + haematoxylin * 200, 0, 255).astype(np.uint8)
    return Painting(base, density, canvas.image, tissue, pattern, stain)


def _paint_tissue(
    rng: np.random.Generator,
    plan: Architecture,
    eosin: NDArray[np.float32],
    haematoxylin: NDArray[np.float32],
    canvas: NucleiCanvas,
) -> None:
    """Fill both dye maps in place and draw the nuclei."""
    shape = plan.tissue.shape
    fibres, bundles, angle = warped_fibres(rng, shape)
    mottle = smooth_noise(rng, shape, 5)
    drift = smooth_noise(rng, shape, 180)
    # Stroma: bundles of collagen with pale gaps between them.
    gaps = np.clip((bundles + 1.5) / 1.1, 0.25, 1.0)
    eosin += (0.56 + 0.10 * fibres + 0.10 * bundles + 0.06 * drift) * gaps
    haematoxylin += 0.035 + 0.012 * fibres
    # Tumour nests: purple cytoplasm with little eosin.
    nests = _soft(plan.nests, 1.6)
    _blend(eosin, nests, 0.46 + 0.07 * mottle + 0.04 * drift)
    _blend(haematoxylin, nests, 0.20 + 0.03 * mottle + 0.03 * drift)
    lymphoid = _soft(plan.lymphoid, 8.0)
    _blend(eosin, lymphoid, 0.30 + 0.05 * mottle)
    _blend(haematoxylin, lymphoid, 0.15 + 0.03 * mottle)

    epithelium, lumen = draw_glands(rng, plan.gland_room, canvas)
    _blend(eosin, _soft(epithelium, 0.8), 0.50 + 0.07 * mottle)
    _blend(haematoxylin, _soft(epithelium, 0.8), 0.11 + 0.02 * mottle)
    _blend(eosin, _soft(lumen, 0.8), 0.05 + 0.03 * np.clip(drift, 0, 2))
    _blend(haematoxylin, _soft(lumen, 0.8), 0.0)

    glands = epithelium | lumen
    stroma = plan.tissue & ~plan.nests & ~glands & ~plan.lymphoid
    canvas.spindle(rng, jittered_grid(rng, stroma, 34, 0.3), angle)
    inflamed = stroma & (smooth_noise(rng, shape, 150) > 0.9)
    canvas.lymphocytes(rng, jittered_grid(rng, inflamed, 21, 0.35))
    canvas.lymphocytes(rng, jittered_grid(rng, plan.lymphoid, 7.6, 0.16))
    canvas.tumour(rng, jittered_grid(rng, plan.nests, 10.8, 0.18))

    alpha = _soft(plan.tissue, 0.9)
    eosin *= alpha
    haematoxylin *= alpha
    canvas.clip(plan.tissue)


def _light(
    rng: np.random.Generator,
    stain: Stain,
    eosin: NDArray[np.float32],
    haematoxylin: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Turn amounts of dye into RGB, on glass with a faint shading of the lamp."""
    height, width = eosin.shape
    y, x = np.ogrid[0 : np.float32(height), 0 : np.float32(width)]
    cy, cx = rng.uniform(0.3, 0.7, 2).astype(np.float32)
    lamp = 1 - 0.028 * ((x / width - cx) ** 2 + (y / height - cy) ** 2)
    np.clip(eosin, 0, None, out=eosin)
    np.clip(haematoxylin, 0, None, out=haematoxylin)
    natural = -np.log(10)  # Beer and Lambert use powers of ten
    channels = []
    for white, h, e in zip(stain.white, stain.haematoxylin, stain.eosin, strict=True):
        density = cv2.addWeighted(eosin, e * natural, haematoxylin, h * natural, 0.0)
        channels.append(cv2.multiply(cv2.exp(density), lamp, scale=white, dtype=cv2.CV_8U))
    return cv2.merge(channels)


def _soft(mask: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Return the mask with soft edges, float32 0 to 1."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def _blend(
    target: NDArray[np.float32], weight: NDArray[np.float32], value: NDArray[np.float32] | float
) -> None:
    """Replace the target by the value where the weight is one, in place."""
    target += weight * (value - target)
