"""CLAM's tissue segmentation: the same mask, pieces and points, in the same order.

Specification wsi 1. Everything is exact: golden arrays made by CLAM are compared in the tests.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np

SEGMENTATION_DOWNSAMPLE = 64  # the level used is the last that is not coarser
REFERENCE_PATCH = 512  # side in level-0 pixels of the square that a_t and a_h count


@dataclass(frozen=True)
class ClamParameters:
    """How CLAM finds tissue; the names and defaults are those of its command.

    Parameters
    ----------
    seg_level : pyramid level that is segmented; -1 chooses it (:func:`choose_level`).
    sthresh : saturation (0-255) above which a pixel is tissue; not used with `use_otsu`.
    mthresh : side in pixels of the median filter, odd.
    close : side in pixels of the closing kernel; 0 for none. An even side moves the mask by one
        pixel to the right and down.
    use_otsu : choose the threshold by Otsu's method.
    a_t, a_h : smallest area of tissue and of a hole, in squares of 512 x 512 level-0 pixels.
    max_n_holes : holes kept of each piece, the largest.
    keep_ids, exclude_ids : numbers of the pieces to use alone and to leave out, counted from 0
        in the order of :func:`segment` before either is applied; empty for all and for none.
    """

    seg_level: int = -1
    sthresh: int = 8
    mthresh: int = 7
    close: int = 4
    use_otsu: bool = False
    a_t: float = 100
    a_h: float = 16
    max_n_holes: int = 8
    keep_ids: tuple[int, ...] = ()
    exclude_ids: tuple[int, ...] = ()


PRESETS: Mapping[str, ClamParameters] = MappingProxyType(
    {
        "clam": ClamParameters(),
        "bwh_biopsy": ClamParameters(sthresh=15, mthresh=11, close=2, a_t=1, a_h=1, max_n_holes=2),
        "bwh_resection": ClamParameters(sthresh=15, mthresh=11),
        "tcga": ClamParameters(a_t=16, a_h=4),
    }
)


def parameters_of(settings: Mapping[str, object]) -> ClamParameters:
    """Return the preset that settings name (else the command's), with the fields they change."""
    changed = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name in ClamParameters.__dataclass_fields__
    }
    return replace(PRESETS.get(str(settings["preset"]), PRESETS["clam"]), **changed)


def choose_level(level_dimensions: Sequence[tuple[int, int]]) -> int:
    """Return the level that CLAM segments: walking up, the last whose downsample is <= 64.

    Many slides have 64.01 rather than 64 there, and are segmented at 16x.

    Parameters
    ----------
    level_dimensions : width and height of each level, the largest first.
    """
    w0, h0 = level_dimensions[0]
    level = 0
    for width, height in level_dimensions[1:]:
        if (w0 / width + h0 / height) / 2 > SEGMENTATION_DOWNSAMPLE:
            break
        level += 1
    return level


def tissue_mask(rgb: np.ndarray, parameters: ClamParameters) -> np.ndarray:
    """Return CLAM's mask after closing.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8, the whole level that is segmented. Transparent pixels may be white
        or black: either has no saturation.
    parameters : of the segmentation.

    Returns
    -------
    ``[H, W]`` uint8, 255 on tissue.
    """
    saturation = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1]
    smooth = cv2.medianBlur(np.ascontiguousarray(saturation), parameters.mthresh)
    otsu = cv2.THRESH_OTSU if parameters.use_otsu else 0
    _, mask = cv2.threshold(smooth, parameters.sthresh, 255, cv2.THRESH_BINARY | otsu)
    if parameters.close > 0:
        kernel = np.ones((parameters.close, parameters.close), np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    return mask


def segment(
    rgb: np.ndarray, dimensions: tuple[int, int], parameters: ClamParameters
) -> list[list[np.ndarray]]:
    """Segment a slide as CLAM does.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8, the whole level that is segmented.
    dimensions : width and height of level 0.
    parameters : of the segmentation; `seg_level` was the caller's to obey.

    Returns
    -------
    Pieces in CLAM's order, each its outline and then its holes, the largest first: ``[n, 2]``
    int32, level-0 pixels, cut off (not rounded). Empty for a blank slide, where CLAM would stop.

    Raises
    ------
    ValueError : `keep_ids` names a piece that does not exist.
    """
    return pieces_of_mask(tissue_mask(rgb, parameters), dimensions, parameters)


def pieces_of_mask(
    mask: np.ndarray, dimensions: tuple[int, int], parameters: ClamParameters
) -> list[list[np.ndarray]]:
    """Return the pieces of a mask ``[H, W]`` uint8; see :func:`segment`."""
    height, width = mask.shape
    factor = np.array([dimensions[0] / width, dimensions[1] / height])
    reference = int(REFERENCE_PATCH**2 / (factor[0] * factor[1]))  # its pixels in the mask
    least_tissue, least_hole = parameters.a_t * reference, parameters.a_h * reference
    pieces = []
    for outline, holes in borders(mask):
        areas = [cv2.contourArea(hole) for hole in holes]
        if cv2.contourArea(outline) - sum(areas) <= least_tissue:
            continue
        largest = sorted(range(len(holes)), key=lambda i: -areas[i])[: parameters.max_n_holes]
        kept = [holes[i] for i in largest if areas[i] > least_hole]
        pieces.append([(ring * factor).astype(np.int32) for ring in (outline, *kept)])
    return _chosen(pieces, parameters)


def borders(mask: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yield each outline ``[n, 2]`` with all its holes, pixels of the mask, in OpenCV's order.

    A border runs through the centres of tissue pixels, that of a hole too. Pieces and the holes of
    a piece come by their first pixel in raster order, the last one first.
    """
    rings, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return
    parents = tree[0][:, 3]
    holes: dict[int, list[np.ndarray]] = {}
    for i in np.flatnonzero(parents >= 0):
        holes.setdefault(int(parents[i]), []).append(rings[i][:, 0])
    for i in np.flatnonzero(parents < 0):
        yield rings[i][:, 0], holes.get(int(i), [])


def _chosen(pieces: list[list[np.ndarray]], parameters: ClamParameters) -> list[list[np.ndarray]]:
    count = len(pieces)
    # the order is that of the set, neither the one typed nor always ascending
    numbers = set(parameters.keep_ids or range(count)) - set(parameters.exclude_ids)
    missing = [number for number in parameters.keep_ids if number in numbers and number >= count]
    if missing:
        numbered = f", numbered 0 to {count - 1}" if count else ""
        raise ValueError(
            f"keep_ids names piece {missing[0]}, but the slide has {count} piece(s) of tissue"
            f"{numbered}; take the number from keep_ids, or lower a_t so that more are kept."
        )
    return [pieces[number] for number in numbers]
