"""Pen ink on an overview: what was written on the glass and is no tissue."""

import cv2
import numpy as np

INK_HUES = (35, 118)  # green to blue in OpenCV's 0-179; tissue in H&E lies at 128-175
LAST_BLUE = 124  # up to here only what is flat and deep: pure haematoxylin is this blue
DEEP_SATURATION = 165
DARK_SATURATION = 150
DARK_BLUES = (100, 126)  # dark blue ink over tissue is purple, but darker than haematoxylin
INK_SATURATION = 90
PALE_SATURATION = 25
RED_SATURATION = 205  # blood and eosin stay below 200
FLAT = 8.0  # grey levels: local standard deviation of a stroke; most tissue is rougher
WINDOW_UM = 40.0  # of that deviation
REACH_UM = 250.0  # a halo out of focus is no wider
MIN_AREA = 0.01  # mm2 of certain ink in one stroke: 0.1 x 0.1 mm, less than any pen draws
MIN_AREA_COLOURED = 0.005  # tissue and pigment are black in places, but not green or blue
MIN_AREA_RED = 0.05


def find_pen(rgb: np.ndarray, mpp: float) -> np.ndarray:
    """Find blue, green, black and red ink (specification wsi 7.2).

    Certain ink is found by hue and saturation, or by being nearly black; the paler rim and the
    dry parts that touch it belong to it, and so does a flat tail that fades away. Red ink must be
    flat and far more saturated than blood: pale red strokes are missed rather than blood taken
    away. Blue tissue of other stains (trichrome, Alcian blue) looks like ink.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8 overview, about 8 um/px.
    mpp : um per pixel.

    Returns
    -------
    ``[H, W]`` bool.
    """
    smooth = cv2.medianBlur(rgb, 3)
    hue, saturation, value = cv2.split(cv2.cvtColor(smooth, cv2.COLOR_RGB2HSV))
    flat = local_deviation(cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY), WINDOW_UM / mpp) < FLAT
    inked = (hue >= INK_HUES[0]) & (hue <= INK_HUES[1])
    bluish = (hue >= INK_HUES[0]) & (hue <= LAST_BLUE)
    dark_blue = (hue >= DARK_BLUES[0]) & (hue <= DARK_BLUES[1]) & (value < 80)
    coloured = (inked & (saturation > INK_SATURATION)) | (
        flat
        & ((bluish & (saturation > DEEP_SATURATION)) | (dark_blue & (saturation > DARK_SATURATION)))
    )
    lit = value >= 5  # below: the padding of a scanner
    black = lit & (((saturation < 45) & (value < 90)) | (flat & (value < 50)))
    pale = (bluish & (saturation > PALE_SATURATION)) | dark_blue
    pale |= lit & (((saturation < 60) & (value < 130)) | (value < 70))
    reddish = (hue >= 175) | (hue <= 5)
    red = reddish & flat & (saturation >= RED_SATURATION) & (value >= 150)
    pale_red = reddish & (saturation >= 150) & (value >= 130)
    pixel = (mpp / 1000) ** 2  # mm2
    reach = REACH_UM / mpp
    tail = inked & flat & (saturation > PALE_SATURATION)  # of a pen running dry, of any length
    pen = _strokes(coloured | black, tail, pale, MIN_AREA / pixel, reach)
    pen |= _strokes(coloured, tail, pale, MIN_AREA_COLOURED / pixel, reach)
    return pen | _strokes(red, red, pale_red, MIN_AREA_RED / pixel, reach)


def local_deviation(grey: np.ndarray, window: float) -> np.ndarray:
    """Return the standard deviation in a square of about `window` pixels, ``[H, W]`` float32."""
    grey = grey.astype(np.float32)
    side = 2 * max(1, round(window / 2)) + 1
    mean = cv2.blur(grey, (side, side))
    return np.sqrt((cv2.blur(grey * grey, (side, side)) - mean * mean).clip(0))


def _strokes(certain, tail, pale, min_pixels: float, reach: float) -> np.ndarray:
    """Return the strokes with enough certain ink, with their tails and the pale ink about both."""
    if not certain.any():
        return certain
    core = _holding(certain | tail, certain, 1)
    side = 2 * round(reach) + 1
    near = cv2.boxFilter(core.astype(np.float32), -1, (side, side)) > 0.5 / side**2
    return _holding(core | (pale & near), certain, min_pixels)


def _holding(mask: np.ndarray, certain: np.ndarray, min_pixels: float) -> np.ndarray:
    """Return the connected parts of `mask` that hold at least so many pixels of `certain`."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    enough = np.bincount(parts[certain], minlength=count) >= min_pixels
    enough[0] = False
    return enough[parts]
