"""Quality of patches: colour, density and focus, at about 2 um/px."""

from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np

DARK = 70  # brightest channel; nuclei are rarely darker at 2 um/px
ABSORBS = 0.93  # of the glass's grey: a pixel below it is not glass (optical density 0.1 in all)
NOISE = 20.0  # grey levels squared: variance of the Laplacian of noise of one grey level
MIN_VARIANCE = 4.0  # grey levels squared: a patch of less has no detail to judge
MIN_SHARE = 0.02  # of the patch that must absorb light
BLURRED = 0.2  # of the slide's median focus
ENOUGH_TISSUE = 0.5
STEP = 4  # means are over every fourth row; that is 4,096 pixels of a patch of 128 x 128
NAMES = ("saturation", "density", "dark", "focus", "tenengrad")


def measure(patches: Iterable[np.ndarray], white: np.ndarray) -> dict[str, np.ndarray]:
    """Measure patches one by one; see `measure_blocks`.

    Parameters
    ----------
    patches : N of ``[P, P, 3]`` uint8, about 2 um/px.
    white : ``[3]`` colour of bare glass.

    Returns
    -------
    name -> ``[N]`` float16.
    """
    each = [measure_blocks(patch, 1, white) for patch in patches]
    return {
        name: np.array([one[name][0] for one in each], np.float16).reshape(len(each))
        for name in NAMES
    }


def measure_blocks(region: np.ndarray, n: int, white: np.ndarray) -> dict[str, np.ndarray]:
    r"""Measure the n x n blocks of a region, such as the fine patches of a coarse one.

    ``saturation`` is the mean of HSV's S (0-255), ``density`` the mean optical density against
    the glass, summed over channels, and ``dark`` the share of pixels whose brightest channel is
    below 70. ``tenengrad`` is the mean squared gradient of grey (Sobel, grey levels per pixel).
    Gradients see every pixel, means are over every fourth row.

    ``focus`` is the variance of the Laplacian of grey over the variance of grey, both over the
    pixels that are not glass, less what noise of one grey level (JPEG, sensor) gives:

    .. math:: \max(0, \mathrm{Var}(\nabla^2 g) - 20) / \mathrm{Var}(g)

    It is NaN where there is nothing to judge: almost no pixels that absorb light, or all alike.

    Parameters
    ----------
    region : ``[H, W, 3]`` uint8, about 2 um/px; H and W are multiples of n.
    n : blocks a side.
    white : ``[3]`` colour of bare glass.

    Returns
    -------
    name -> ``[n * n]`` float16, y outer and x inner.

    Raises
    ------
    ValueError
        The region cannot be cut into n x n equal blocks.
    """
    height, width = region.shape[:2]
    if height % n or width % n or not height * width:
        raise ValueError(f"a region of {width} x {height} px cannot be cut into {n} x {n} blocks.")
    step = min(STEP, height // n)
    means = _BlockMeans(height, width, n, step)
    result = _colours(np.ascontiguousarray(region[::step]), white, means)
    grey = cv2.cvtColor(region, cv2.COLOR_RGB2GRAY)
    limit = ABSORBS * float(np.dot(white, (0.299, 0.587, 0.114)))
    smooth = cv2.blur(grey, (3, 3))[::step]
    absorbs = (smooth < limit).astype(np.float32)
    dx, dy = (way[::step].astype(np.float32) for way in cv2.spatialGradient(grey))
    result["tenengrad"] = means(dx * dx + dy * dy) / 8**2
    share = means(absorbs)
    laplacian = cv2.Laplacian(grey, cv2.CV_16S)[::step].astype(np.float32)
    detail = _variance(laplacian, absorbs, share, means)
    variance = _variance(grey[::step].astype(np.float32), absorbs, share, means)
    judged = (share >= MIN_SHARE) & (variance >= MIN_VARIANCE)
    focus = (detail - NOISE).clip(0) / variance.clip(MIN_VARIANCE)
    result["focus"] = np.where(judged, focus, np.nan)
    return {name: result[name].ravel().astype(np.float16) for name in NAMES}


def blurred(focus: np.ndarray, tissue_fraction: np.ndarray) -> np.ndarray:
    """Return which patches are out of focus, ``[N]`` bool.

    A patch is, when its focus is below 20 % of the median of the slide's own patches with at
    least half tissue. A slide that is out of focus everywhere is not found by this; a patch
    whose focus is NaN is not flagged.

    Parameters
    ----------
    focus : ``[N]`` from `measure`.
    tissue_fraction : ``[N]``, 0-1.
    """
    focus = np.asarray(focus, np.float32)
    judged = np.isfinite(focus)
    enough = judged & (np.asarray(tissue_fraction) >= ENOUGH_TISSUE)
    if not enough.any():
        return np.zeros(len(focus), bool)
    return judged & (np.nan_to_num(focus) < BLURRED * np.median(focus[enough]))


class _BlockMeans:
    """Means over the n x n blocks of a map of every `step`-th row: two matrix products."""

    def __init__(self, height: int, width: int, n: int, step: int):
        self.rows = _membership(height, n, step)
        self.columns = _membership(width, n, 1).T

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return self.rows @ (values @ self.columns)  # [n, n]


@cache
def _membership(length: int, n: int, step: int) -> np.ndarray:
    """Return ``[n, samples]``: 1 / (samples of the block) where a sample belongs to the block."""
    block = np.arange(0, length, step) * n // length
    member = (block == np.arange(n)[:, None]).astype(np.float32)
    return member / member.sum(axis=1, keepdims=True)


def _variance(values, weight, share, means) -> np.ndarray:
    """Return the variance of the pixels of weight 1 in each block, ``[n, n]``."""
    weighted = values * weight
    mean = means(weighted) / share.clip(1e-6)
    weighted *= values
    return means(weighted) / share.clip(1e-6) - mean**2


def _colours(rgb: np.ndarray, white: np.ndarray, means: _BlockMeans) -> dict[str, np.ndarray]:
    _, saturation, value = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    white = np.rint(white).astype(np.uint8)
    product = np.ones(rgb.shape[:2], np.float32)
    for channel, most in zip(cv2.split(rgb), white, strict=True):
        product *= cv2.min(channel, float(most)) + np.float32(1)
    whitest = float(np.log10(white.astype(np.float64) + 1).sum())
    density = (whitest - cv2.log(product) / np.log(10)).clip(0)
    return {
        "saturation": means(saturation.astype(np.float32)),
        "density": means(density),
        "dark": means((value < DARK).astype(np.float32)),
    }
