"""Folds of the section: where tissue lies on itself."""

import cv2
import numpy as np

FOLD_MPP = 16.0  # um/px at which folds are looked for
FLANKS_UM = (250.0, 350.0)  # from a pixel to the tissue on either side it is compared with
SIDE = 5  # pixels: the square that stands for a side
DIRECTIONS = 8
DENSER = 1.5  # than both sides; two layers absorb about twice as much
CERTAIN = 1.7
MAX_ANGLE = 6.0  # degrees; another layer makes tissue darker, more nuclei also make it bluer
MAX_ANGLE_EDGE = 5.0  # with tissue on one side only, cell-rich rims look like folds
MIN_LENGTH_UM = 300.0
ELONGATION = 3.0


def find_folds(rgb: np.ndarray, tissue: np.ndarray, mpp: float, white: np.ndarray) -> np.ndarray:
    """Find dark, strongly coloured strips (specification wsi 7.2).

    A strip is denser than the tissue 250 um to either side of it, among the densest and most
    strongly coloured of the slide, and of the same stain mixture as its sides: its optical density
    is another multiple of the same vector. Folds that are broad, short, faint or narrower than
    about 60 um are missed.

    Parameters
    ----------
    rgb : ``[H, W, 3]`` uint8 overview, about 8 um/px.
    tissue : ``[H, W]`` bool.
    mpp : um per pixel.
    white : ``[3]`` colour of bare glass.

    Returns
    -------
    ``[H, W]`` bool.
    """
    height, width = tissue.shape
    size = max(1, round(width * mpp / FOLD_MPP)), max(1, round(height * mpp / FOLD_MPP))
    area = cv2.INTER_AREA
    inside = cv2.resize(tissue.astype(np.float32), size, interpolation=area) > 0.5
    if not inside.any():
        return np.zeros_like(tissue)
    light = cv2.resize(rgb, size, interpolation=area)
    light = cv2.GaussianBlur(light, (0, 0), 1).astype(np.float32)
    density = np.log10((white.astype(np.float32) + 1) / (light + 1)).clip(0)  # [h, w, 3]
    total = density.sum(axis=2)
    colour = density.max(axis=2) - density.min(axis=2)  # two layers double it, too; nuclei do not
    striking = inside.copy()
    for values in (total, colour):
        striking &= values > DENSER * np.median(values[inside])
    ratio = np.zeros_like(total)
    ratio[striking] = _ratio_to_sides(density, inside, striking)
    certain = (ratio > CERTAIN) & (total > np.percentile(total[inside], 95))
    folds = _strips(ratio > DENSER, certain, FOLD_MPP)
    folds = cv2.resize(folds.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return folds.astype(bool) & tissue


def _ratio_to_sides(density: np.ndarray, inside: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return how much denser each of `where` is than its densest side, in the best direction.

    A direction with no tissue on either side, or with tissue of another stain mixture, gives 0.
    """
    weight = cv2.blur(inside.astype(np.float32), (SIDE, SIDE))
    # 0 on glass
    sides = cv2.blur(density * inside[..., None], (SIDE, SIDE)) / weight.clip(1e-3)[..., None]
    reach = int(np.ceil(max(FLANKS_UM) / FOLD_MPP))
    sides = np.pad(sides, ((reach, reach), (reach, reach), (0, 0)))
    y, x = np.nonzero(where)
    here = density[y, x]  # [n, 3]
    norm, best = np.linalg.norm(here, axis=1), np.zeros(len(y), np.float32)
    for turn in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        densest, angle = np.zeros(len(y), np.float32), np.zeros(len(y), np.float32)
        sided = np.zeros((2, len(y)), bool)
        for distance in (sign * flank / FOLD_MPP for flank in FLANKS_UM for sign in (1, -1)):
            dy, dx = round(distance * np.sin(turn)), round(distance * np.cos(turn))
            side = sides[y + dy + reach, x + dx + reach]  # [n, 3]
            size = np.linalg.norm(side, axis=1)
            cosine = (here * side).sum(axis=1) / (norm * size).clip(1e-6)
            apart = np.degrees(np.arccos(cosine.clip(-1, 1)))
            np.maximum(angle, np.where(size > 0, apart, 0), out=angle)
            np.maximum(densest, side.sum(axis=1), out=densest)
            sided[int(distance > 0)] |= size > 0
        found = angle < np.where(sided.all(axis=0), MAX_ANGLE, MAX_ANGLE_EDGE)
        found &= sided.any(axis=0)
        best[found] = np.maximum(best[found], here[found].sum(axis=1) / densest[found].clip(0.1))
    return best


def _strips(dense: np.ndarray, certain: np.ndarray, mpp: float) -> np.ndarray:
    """Return the connected parts of `dense` that hold certain pixels, long and narrow."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        dense.astype(np.uint8), connectivity=8
    )
    framed = cv2.copyMakeBorder(dense.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    inward = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    half_width = np.zeros(count, np.float32)
    np.maximum.at(half_width, labels[dense], inward[dense])
    width = 2 * half_width.clip(0.5)
    length = stats[:, cv2.CC_STAT_AREA] / width
    fold = np.bincount(labels[certain], minlength=count) > 0
    fold &= (length * mpp > MIN_LENGTH_UM) & (length > ELONGATION * width)
    fold[0] = False
    return fold[labels]
