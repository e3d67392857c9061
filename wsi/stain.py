"""Stain of a slide in numbers, and the slides that differ from their cohort."""

from collections.abc import Mapping

import numpy as np

from wsi.segment import white_point

SAMPLE = 100_000  # pixels
MIN_PIXELS = 500
DARKEST_GLASS = 100  # of dim and tinted scans, too: that is what makes them outliers
ABSORBS = 0.15  # optical density, sum over channels; paler pixels have no hue to speak of
EXTREMES = (1, 99)  # percentiles of the angle, Macenko's
OUTLIER = 4.0  # robust z
MIN_SLIDES = 8
CHANNELS = ("red", "green", "blue")
STAINS = ("haematoxylin", "eosin")
# least spread of a cohort that counts, so that alike slides do not make outliers of good ones
FLOORS = {"glass": 4.0, "density": 0.06, "spread": 0.04, "vector": 0.05}


def stain_statistics(
    rgb: np.ndarray, tissue: np.ndarray, seed: int = 0, white: np.ndarray | None = None
) -> dict[str, float] | None:
    """Measure the stain of a slide (Macenko et al., ISBI 2009).

    The two stain vectors span the plane of the largest variance of optical density; they are the
    1st and 99th percentile of the angle in it. The one that absorbs more red is called
    haematoxylin; with other stains the names mean no more than that.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8.
    tissue : ``[H, W]`` bool.
    seed : of the sample of at most 100,000 pixels.
    white : ``[3]`` colour of bare glass; None is the commonest bright colour outside the tissue.

    Returns
    -------
    ``glass_red`` ... (0-255); ``density_red`` ... and ``spread_red`` ..., mean and standard
    deviation of optical density (log10); the same for ``haematoxylin`` and ``eosin``; and the
    components of their unit vectors, ``vector_eosin_red`` ... None with fewer than 500 pixels of
    tissue that absorb light.
    """
    if white is None:
        white = white_point(rgb[~tissue], DARKEST_GLASS)
    colours = rgb[tissue]  # [N, 3]
    if len(colours) > SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(colours), SAMPLE, replace=False)
        colours = colours[chosen]
    density = np.log10((white.astype(np.float64) + 1) / (colours + 1.0)).clip(0)
    density = density[density.sum(axis=1) > ABSORBS]
    if len(density) < MIN_PIXELS:
        return None
    vectors = _stain_vectors(density)  # [2, 3]
    amounts = density @ np.linalg.pinv(vectors)  # [N, 2]
    result = {f"glass_{name}": white[i] for i, name in enumerate(CHANNELS)}
    for names, values in ((CHANNELS, density), (STAINS, amounts)):
        for i, name in enumerate(names):
            result[f"density_{name}"] = values[:, i].mean()
            result[f"spread_{name}"] = values[:, i].std()
    for stain, vector in zip(STAINS, vectors, strict=True):
        for channel, part in zip(CHANNELS, vector, strict=True):
            result[f"vector_{stain}_{channel}"] = part
    return {name: round(float(value), 5) for name, value in result.items()}


def outliers(table: Mapping[str, Mapping[str, float] | None]) -> dict[str, str]:
    """Return the slides whose stain differs from the cohort's, each with a sentence.

    A slide differs when one of its statistics is more than 4 robust standard deviations (1.4826
    times the median absolute deviation, not below a floor) from the median of all slides.

    Parameters
    ----------
    table : slide -> what `stain_statistics` gave. With fewer than 8 slides none is an outlier.
    """
    measured = {slide: statistics for slide, statistics in table.items() if statistics}
    if len(measured) < MIN_SLIDES:
        return {}
    names = list(next(iter(measured.values())))
    values = np.array([[one[name] for name in names] for one in measured.values()])  # [S, K]
    median = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - median), axis=0)
    spread = np.maximum(spread, [FLOORS[name.split("_")[0]] for name in names])
    z = np.abs(values - median) / spread
    found = {}
    for slide, row, scores in zip(measured, values, z, strict=True):
        worst = int(scores.argmax())
        if scores[worst] > OUTLIER:
            found[slide] = _sentence(names[worst], row[worst], median[worst])
    return found


def _sentence(name: str, value: float, median: float) -> str:
    kind, *which = name.split("_")
    words = {
        "glass": "{} of bare glass (0-255)",
        "density": "mean optical density of {}",
        "spread": "standard deviation of the optical density of {}",
        "vector": "stain vector of {} in {}",
    }[kind].format(*which)
    digits = 0 if kind == "glass" else 2
    return (
        f"{words}: {value:.{digits}f}, the median of the cohort is {median:.{digits}f}. Another "
        "stain, scanner or white balance? Look at the slide."
    )


def _stain_vectors(density: np.ndarray) -> np.ndarray:
    """Return the unit vectors of haematoxylin and eosin, ``[2, 3]``."""
    _, axes = np.linalg.eigh(np.cov(density.T))
    plane = axes[:, [2, 1]]  # [3, 2], largest variance first
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    first, second = (density @ plane).T
    angles = np.percentile(np.arctan2(second, first), EXTREMES)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T  # [2, 3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[np.argsort(-vectors[:, 0])]
