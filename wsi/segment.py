"""Tissue on an overview as a mask, and how sure the limits are that it comes from."""

from dataclasses import dataclass

import cv2
import numpy as np

from wsi.pen import find_pen, local_deviation

OPTICAL_DENSITY = 0.15  # sum over channels; rescues pale and fatty tissue that has little colour
PLAUSIBLE = (0.001, 0.95)  # share of the scanned area; outside it other limits are tried
GLASS_ROUGHNESS = 3.0  # grey levels: glass is flatter than this
FILL_ROUGHNESS = 2.0  # even pale tissue on a saturated scan is rougher
DARK_FIELD = 80  # brightest channel, median: bright on black, not stained tissue on glass
GLASS_SHADES = 8  # grey levels about the commonest: uneven light, borders of scanner tiles
MIN_GLASS = 0.1  # of the bright pixels; less beside pure white is a rim of tissue
SMOOTH_UM = 20.0  # faint tissue is told from noise by its extent
WINDOW_UM = 72.0  # of local entropy
PADDING = 5
SAMPLE_SIDE = 1000  # pixels, squared: enough to tell the colour of glass
FIRST = "colour or optical density"


@dataclass(frozen=True)
class Segmentation:
    """Tissue of one overview.

    Parameters
    ----------
    tissue, pen : ``[H, W]`` bool.
    method : which limits the tissue comes from, in words.
    check : empty, or a sentence that says why a person should look at the slide.
    """

    tissue: np.ndarray
    pen: np.ndarray
    method: str = FIRST
    check: str = ""


def segment(
    rgb: np.ndarray,
    mpp: float,
    *,
    close_um: float,
    min_area_mm2: float,
    min_hole_mm2: float,
    inside: np.ndarray | None = None,
) -> Segmentation:
    """Find tissue and pen ink (specification wsi 7.2).

    Tissue is what has colour (saturation above ``max(8, Otsu / 2)``) or optical density, without
    ink; closed, without small pieces, small holes filled. Where that is less than 0.1 % or more
    than 95 % of the scanned area, Otsu's limits on saturation, on optical density and on local
    entropy are tried in turn. One of them is believed only if its two classes are separate (a
    valley in the histogram) and the paler one looks like glass; else the first result stands.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8 overview.
    mpp : um per pixel of the overview.
    close_um : gaps up to about this width are closed.
    min_area_mm2, min_hole_mm2 : smaller pieces go, smaller holes are filled.
    inside : ``[H, W]`` bool, the scanned area; None is all of it.
    """
    smooth = cv2.medianBlur(rgb, 3)
    brightest = cv2.max(cv2.max(smooth[..., 0], smooth[..., 1]), smooth[..., 2])
    padding = brightest < PADDING  # pure black is a scanner's padding
    scanned = ~padding if inside is None else inside & ~padding
    if not scanned.any():
        return Segmentation(np.zeros_like(scanned), np.zeros_like(scanned))
    step = 1 + max(scanned.shape) // SAMPLE_SIDE
    sample = smooth[::step, ::step][scanned[::step, ::step]]
    if len(sample) < SAMPLE_SIDE:  # a small part of the picture was scanned
        sample = smooth[scanned]
    dark = np.median(sample.max(axis=1)) < DARK_FIELD
    pen = np.zeros_like(scanned) if dark else find_pen(rgb, mpp) & scanned
    clean = scanned & ~_grow(pen | padding, 5)

    def finish(tissue: np.ndarray) -> np.ndarray:
        return _clean_up(tissue & clean, pen, mpp, close_um, min_area_mm2, min_hole_mm2)

    white = white_point(sample)
    first = finish(_coloured_or_dense(smooth, scanned & ~pen, white))
    share = first.sum() / scanned.sum()
    if PLAUSIBLE[0] <= share <= PLAUSIBLE[1]:
        method, tissue, check = FIRST, first, ""
    else:
        method, tissue = _fall_back(smooth, clean, mpp, finish) or (FIRST, first)
        check = _why_look(method, share, tissue, mpp)
    if dark:
        check = "the slide is dark: if it is fluorescence, leave it out (exclude)."
    elif pen.sum() > tissue.sum():
        check = "more pen ink than tissue was found: a blue or green stain is taken for ink."
    return Segmentation(tissue, pen, method, check)


def white_point(colours: np.ndarray, darkest: int = 200) -> np.ndarray:
    """Return the colour of bare glass, ``[3]`` float32: the commonest bright grey, per channel.

    Pure white fills what a scanner left out. It is not looked at where what else is bright is of
    one shade, as glass is and pale tissue is not.

    Parameters
    ----------
    colours : ``[N, 3]`` uint8, pixels of the scanned area.
    darkest : what has a channel that is no brighter is not looked at; with nothing left, glass is
        taken for white.
    """
    colours = colours[:: 1 + len(colours) // SAMPLE_SIDE**2]
    bright = colours[colours.min(axis=1) > darkest]
    if len(bright) == 0:
        return np.full(3, 255, np.float32)
    shaded = bright[bright.min(axis=1) < 255]
    if len(shaded) >= MIN_GLASS * len(bright):
        glass = _commonest(shaded)
        if (np.abs(shaded - glass).max(axis=1) <= GLASS_SHADES).mean() > 0.5:
            return glass
    return _commonest(bright)


def _commonest(colours: np.ndarray) -> np.ndarray:
    return np.array(
        [np.bincount(colours[:, c], minlength=256).argmax() for c in range(3)], np.float32
    )


def optical_density(rgb: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return the optical density against the glass, summed over channels, ``[..., ]`` float32."""
    if rgb.dtype == np.uint8:  # a table of 256 is much faster
        levels = np.arange(1, 257, dtype=np.float32)
        table = np.log10((white.astype(np.float32) + 1)[:, None] / levels).clip(0)  # [3, 256]
        return sum(table[channel][rgb[..., channel]] for channel in range(3))
    absorbed = np.log10((white + 1) / (rgb + 1))
    return absorbed.clip(0).sum(axis=-1)


def _coloured_or_dense(smooth: np.ndarray, clean: np.ndarray, white: np.ndarray) -> np.ndarray:
    saturation = cv2.medianBlur(cv2.cvtColor(smooth, cv2.COLOR_RGB2HSV)[..., 1], 3)
    otsu, _ = cv2.threshold(saturation[clean], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    density = cv2.medianBlur(optical_density(smooth, white), 3)
    return (saturation > max(8.0, 0.5 * otsu)) | (density > OPTICAL_DENSITY)


def _fall_back(smooth, clean, mpp, finish) -> tuple[str, np.ndarray] | None:
    """Return the first of the other limits that is believed, and its tissue."""
    if not clean.any():
        return None
    colour = _blur_inside(smooth, clean, SMOOTH_UM / mpp)
    most = colour.max(axis=2)
    saturation = 255 * (most - colour.min(axis=2)) / most.clip(1)
    density = optical_density(colour, np.full(3, 255, np.float32))
    grey = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY)
    grey[~clean] = np.median(grey[clean])
    roughness = local_deviation(grey, 5)
    # of a normal distribution; the 1 is the rounding and the compression of glass
    entropy = 0.5 * np.log(2 * np.pi * np.e * (local_deviation(grey, WINDOW_UM / mpp) ** 2 + 1))
    for method, values, contrast in (
        ("Otsu's limit on saturation", saturation, 4.0),
        ("Otsu's limit on optical density", density, 0.04),
        ("Otsu's limit on local entropy", entropy, 1.0),
    ):
        limit = _valley(values[clean], contrast)
        if limit is None:
            continue
        above, below = clean & (values > limit), clean & (values <= limit)
        if np.median(values[above]) - np.median(values[below]) < contrast:
            continue
        if np.median(density[above]) - np.median(density[below]) < 0.02:
            continue  # what absorbs no more light than the rest is a tint of the glass
        if np.median(roughness[below]) > GLASS_ROUGHNESS:
            continue  # the paler of two tissues
        if (grey[below] == 255).mean() > 0.9 and np.median(roughness[above]) < FILL_ROUGHNESS:
            continue  # glass beside pure white, which fills what was not scanned
        if values is entropy:  # borders of scanner tiles are rough too, but thin lines
            above = _open(above, round(WINDOW_UM / mpp) + 4)
        tissue = finish(above)
        if PLAUSIBLE[0] <= tissue.sum() / clean.sum() <= PLAUSIBLE[1]:
            return method, tissue
    return None


def _blur_inside(rgb: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Return `rgb` smoothed as if nothing lay outside `mask`, ``[H, W, 3]`` float32."""
    weight = mask.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    return cv2.GaussianBlur(rgb * weight[..., None], (0, 0), sigma) / total.clip(1e-6)


def _valley(values: np.ndarray, contrast: float) -> float | None:
    """Return the lowest place between the peaks of Otsu's two classes, or None if there is none.

    One cloud of values, cut by Otsu's limit, has its peak and no valley there. Peaks much closer
    than `contrast` are smoothed away: compression makes steps of shaded glass.
    """
    low, high = np.percentile(values, (0.05, 99.95))
    if high - low < contrast:
        return None
    scaled = np.rint((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
    otsu, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    counts = np.bincount(scaled, minlength=256).astype(np.float32)
    sigma = max(4.0, 0.25 * contrast * 255 / (high - low))
    counts = cv2.GaussianBlur(counts[None], (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)[0]
    split = int(otsu) + 1
    left, right = int(counts[:split].argmax()), split + int(counts[split:].argmax())
    valley = left + int(counts[left : right + 1].argmin())
    if counts[valley] > 0.5 * min(counts[left], counts[right]):
        return None
    return low + (valley + 0.5) * (high - low) / 255


def _why_look(method: str, share: float, tissue: np.ndarray, mpp: float) -> str:
    area = tissue.sum() * (mpp / 1000) ** 2
    if share > PLAUSIBLE[1]:
        if method == FIRST:
            return f"{share:.0%} of the scanned area is tissue: look whether glass is among it."
        return f"the glass is coloured or dark; {method} left {area:.2g} mm2: look at the outline."
    if method != FIRST:
        return f"only {method} found tissue ({area:.2g} mm2), and it is faint: look at the outline."
    if area > 0:
        return f"only {area:.2g} mm2 of tissue was found: look whether pale tissue was missed."
    return ""


def _clean_up(tissue, pen, mpp, close_um, min_area_mm2, min_hole_mm2) -> np.ndarray:
    pixel = (mpp / 1000) ** 2  # mm2
    side = 2 * round(close_um / mpp / 2) + 1  # odd: an even kernel moves the mask by a pixel
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(tissue.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)
    closed = _remove_small(closed & ~pen, min_area_mm2 / pixel)
    return ~_remove_small(~closed, min_hole_mm2 / pixel)


def _grow(mask: np.ndarray, side: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)


def _open(mask: np.ndarray, side: int) -> np.ndarray:
    kernel = np.ones((side, side), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(bool)


def _remove_small(mask: np.ndarray, min_pixels: float) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    keep = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    keep[0] = False
    return keep[labels] if count > 1 else np.zeros_like(mask)
