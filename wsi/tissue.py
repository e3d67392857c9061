"""Finding tissue on a slide: where it is, in level-0 pixels, as polygons with holes."""

from collections.abc import Mapping

import cv2
import numpy as np

from wsi.outcome import SlideError, slide_stage
from wsi.outlines import MASK_MPP, write_tissue
from wsi.picture import draw_thumbnail
from wsi.reader import Slide
from wsi.scale import find_mpp

MASK_DOWNSAMPLE = 32.0  # used where patches are laid by downsample or level and no mpp is known
MAX_UNREADABLE = 0.01  # share of the overview
OPTICAL_DENSITY = 0.15  # sum over channels; rescues pale and fatty tissue that has little colour
PEN_HUES = ((85, 118), (35, 84))  # blue and green ink in OpenCV's 0-179; H&E lies at 120-179
PEN_SATURATION = 90  # of certain ink; paler ink counts where it touches that
PALE_SATURATION = 25
PEN_MIN_AREA = 0.02  # mm2 of certain ink in one stroke


@slide_stage(writes=("tissue", "thumbnail"))
def find_tissue(
    *,
    slide_id: str,
    slide: str,
    tissue: str,
    thumbnail: str,
    mpp: float | None,
    scale_by: str,
    parameters: Mapping[str, object],
) -> None:
    """Segment the tissue of one slide (specification wsi 7.2).

    Tissue is what has colour (saturation above ``max(8, Otsu / 2)``) or optical density, without
    pen ink; closed, without small pieces, small holes filled. Everything is in physical size.

    Parameters
    ----------
    slide_id, slide : name and path of the slide.
    tissue : GeoJSON to write: one Feature a piece, level-0 pixels, holes as inner rings.
    thumbnail : picture to write, tissue outlined.
    mpp : um per level-0 pixel from the slide table, or None.
    scale_by : ``mpp``, ``downsample`` or ``level``; only ``mpp`` needs a known scale.
    parameters : ``close_um``, ``min_area_mm2``, ``min_hole_mm2``.

    Raises
    ------
    SlideError
        Kinds ``unreadable``, ``no_scale``, ``no_tissue``, ``damaged``.
    """
    with Slide(slide) as opened:
        try:
            mpp0, source = find_mpp(opened, mpp)
        except SlideError:
            if scale_by == "mpp":
                raise
            mpp0, source = MASK_MPP / MASK_DOWNSAMPLE, "assumed for tissue only"
        overview = opened.overview(MASK_MPP / mpp0)
        if opened.unreadable_share > MAX_UNREADABLE:
            raise SlideError(
                "damaged",
                f"{opened.unreadable_share:.0%} of it cannot be read, so tissue would be missed; "
                "copy the slide again or leave it out (exclude).",
            )
        facts = {
            "mpp0": mpp0,
            "mpp_source": source,
            "width0": opened.dimensions[0],
            "height0": opened.dimensions[1],
            "levels": len(opened.level_dimensions),
            "unreadable_share": opened.unreadable_share,
            "parameters": dict(parameters),
        }
    mask, pen = segment(overview, MASK_MPP, **_segment_options(parameters))
    facts["pen_mm2"] = round(float(pen.sum()) * (MASK_MPP / 1000) ** 2, 4)
    factor = facts["width0"] / mask.shape[1], facts["height0"] / mask.shape[0]
    pieces = _polygons(mask)
    if not pieces:
        raise SlideError(
            "no_tissue",
            f"no tissue. Nothing on it is larger than {parameters['min_area_mm2']} mm2 and has "
            "colour; look at the slide, and if tissue is there lower tissue: min_area_mm2.",
        )
    write_tissue(tissue, slide_id, pieces, factor, facts)
    draw_thumbnail(overview, pieces, thumbnail)


def _segment_options(parameters: Mapping[str, object]) -> dict[str, float]:
    return {name: float(parameters[name]) for name in ("close_um", "min_area_mm2", "min_hole_mm2")}


def segment(
    rgb: np.ndarray, mpp: float, *, close_um: float, min_area_mm2: float, min_hole_mm2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of tissue and of pen ink.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8 overview.
    mpp : um per pixel of the overview.
    close_um : gaps up to about this width are closed.
    min_area_mm2, min_hole_mm2 : smaller pieces go, smaller holes are filled.

    Returns
    -------
    tissue, pen : ``[H, W]`` bool.
    """
    smooth = cv2.medianBlur(rgb, 3)
    hsv = cv2.cvtColor(smooth, cv2.COLOR_RGB2HSV)
    saturation = cv2.medianBlur(hsv[..., 1], 3)
    pixel = (mpp / 1000) ** 2  # mm2
    pen = _pen(hsv, PEN_MIN_AREA / pixel)
    otsu, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    white = _white_point(smooth)
    absorbed = np.log10((white + 1) / (smooth.astype(np.float32) + 1))
    density = absorbed.clip(0).sum(axis=2)
    tissue = (saturation > max(8.0, 0.5 * otsu)) | (cv2.medianBlur(density, 3) > OPTICAL_DENSITY)
    foreign = pen | (smooth.max(axis=2) < 5)  # pure black is a scanner's padding
    tissue &= ~cv2.dilate(foreign.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    side = 2 * round(close_um / mpp / 2) + 1  # odd: an even kernel moves the mask by a pixel
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(tissue.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)
    closed = _remove_small(closed, min_area_mm2 / pixel)
    return ~_remove_small(~closed, min_hole_mm2 / pixel), pen


def _white_point(rgb: np.ndarray) -> np.ndarray:
    """Return the colour of bare glass: the commonest bright grey, per channel."""
    bright = rgb.reshape(-1, 3)
    bright = bright[bright.min(axis=1) > 200]
    if len(bright) == 0:
        return np.full(3, 255, np.float32)
    return np.array(
        [np.bincount(bright[:, c], minlength=256).argmax() for c in range(3)], np.float32
    )


def _pen(hsv: np.ndarray, min_pixels: float) -> np.ndarray:
    """Return strokes of ink: certain ink, with the paler rim and the dry parts that touch it."""
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    coloured = np.zeros(hue.shape, bool)
    for low, high in PEN_HUES:
        coloured |= (hue >= low) & (hue <= high)
    black = (saturation < 60) & (value >= 5)
    certain = (coloured & (saturation > PEN_SATURATION)) | (
        black & (saturation < 45) & (value < 90)
    )
    pale = certain | (coloured & (saturation > PALE_SATURATION)) | (black & (value < 130))
    count, strokes = cv2.connectedComponents(pale.astype(np.uint8), connectivity=8)
    ink = np.bincount(strokes[certain], minlength=count) >= min_pixels
    ink[0] = False
    return ink[strokes]


def _remove_small(mask: np.ndarray, min_pixels: float) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    keep = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    keep[0] = False
    return keep[labels] if count > 1 else np.zeros_like(mask)


def _polygons(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Return for each piece its outline and its holes, ``[n, 2]`` in mask pixels (corners)."""
    # drawn at twice the size, outlines run along pixel borders and not through pixel centres
    double = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, tree = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None:
        return []
    pieces = {
        i: [contours[i]] for i in range(len(contours)) if tree[0][i][3] < 0 and len(contours[i]) > 2
    }
    for i in range(len(contours)):
        if tree[0][i][3] in pieces and len(contours[i]) > 2:
            pieces[tree[0][i][3]].append(contours[i])
    outlines = [[(ring[:, 0] + 0.5) / 2 for ring in piece] for piece in pieces.values()]
    return sorted(outlines, key=lambda piece: tuple(piece[0].min(axis=0)))
