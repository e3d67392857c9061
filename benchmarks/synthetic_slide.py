"""A slide of any size for the benchmarks: tissue-like texture on glass, a JPEG pyramid."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

TILE = 256
GLASS = (243, 241, 244)


def texture(side: int, seed: int) -> np.ndarray:
    """Return ``[side, side, 3]`` uint8 that takes a JPEG as many bytes as stained tissue."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), (222.0, 160.0, 200.0), np.float32)
    for cell, depth in ((64, 20), (16, 22), (6, 14)):
        rough = rng.standard_normal((side // cell + 3, side // cell + 3)).astype(np.float32)
        smooth = cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC)
        picture -= smooth[..., None] * np.array((1.0, 1.2, 0.7), np.float32) * depth
    for x, y in rng.integers(0, side, (side * side // 900, 2)).tolist():
        cv2.circle(picture, (x, y), int(rng.integers(4, 9)), (110.0, 70.0, 140.0), -1, cv2.LINE_AA)
    picture += rng.standard_normal(picture.shape).astype(np.float32) * 3
    return picture.clip(0, 255).astype(np.uint8)


def write_slide(
    path: Path,
    width: int,
    height: int,
    mpp: float = 0.25,
    downsamples: Sequence[int] = (1, 4, 16),
    pieces: int = 0,
) -> None:
    """Write a slide.

    Parameters
    ----------
    path : TIFF to write.
    width, height : of level 0 in pixels.
    mpp : um per pixel of level 0.
    downsamples : of the levels.
    pieces : pieces of tissue with a hole each, on glass; 0 for tissue all over.
    """
    block = texture(4096, 0)
    mask = _mask(width, height, pieces)
    with tifffile.TiffWriter(path, bigtiff=width * height > 2**30) as file:
        for number, factor in enumerate(downsamples):
            small = cv2.resize(
                block, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA
            )
            size = height // factor, width // factor
            per_cm = 10_000 / (mpp * factor)
            file.write(
                _tiles(size, small, mask),
                shape=(*size, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 90},
                subsampling=(2, 2),
                subfiletype=int(number > 0),
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                software="",
                metadata=None,
            )


def _mask(width: int, height: int, pieces: int) -> np.ndarray:
    """Return where tissue is, in pixels of 64 of the slide's."""
    small = max(1, height // 64), max(1, width // 64)
    if not pieces:
        return np.full(small, 255, np.uint8)
    mask = np.zeros(small, np.uint8)
    rng = np.random.default_rng(1)
    rows = int(np.ceil(np.sqrt(pieces)))
    for i in range(pieces):
        row, column = divmod(i, rows)
        centre = int((column + 0.5) * small[1] / rows), int((row + 0.5) * small[0] / rows)
        axes = [int(min(small) / rows * share) for share in rng.uniform(0.28, 0.45, 2)]
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        cv2.circle(mask, centre, axes[0] // 4, 0, -1)
    return mask


def _tiles(size: tuple[int, int], block: np.ndarray, mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the storage tiles of a level, row by row."""
    period = block.shape[0]
    glass = np.full((TILE, TILE, 3), GLASS, np.uint8)
    for y in range(0, size[0], TILE):
        for x in range(0, size[1], TILE):
            where = [edge + np.arange(TILE) for edge in (y, x)]
            inside = [
                np.minimum(w * m // s, m - 1)
                for w, m, s in zip(where, mask.shape, size, strict=True)
            ]
            tissue = mask[np.ix_(*inside)] > 0
            if not tissue.any():
                yield glass
                continue
            tile = block[np.ix_(where[0] % period, where[1] % period)]
            yield tile if tissue.all() else np.where(tissue[..., None], tile, glass)
