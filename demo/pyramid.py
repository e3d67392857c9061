"""Magnify a painting to the scan's level 0 and store it as a pyramidal tiled JPEG TIFF."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demo.noise import tileable_noise
from demo.nuclei import SCALE as NUCLEI_SCALE
from demo.tissue_painter import Painting

TILE = 256
QUALITY = 85
HALO = 2  # um around a strip that interpolation needs
TEXTURE = 1024


def write_slide(
    path: Path,
    painting: Painting,
    mpp: float,
    downsamples: tuple[int, ...] = (4, 16),
    resolution_tags: bool = True,
) -> None:
    """Write one slide that OpenSlide opens as ``generic-tiff``.

    Parameters
    ----------
    path : file to write.
    painting : the slide at 1 um a pixel.
    mpp : um a pixel at level 0; 1 / mpp is a whole number.
    downsamples : of the levels below level 0, each a multiple of the one before.
    resolution_tags : whether the file tells its scale.
    """
    factor = round(1 / mpp)
    height, width = (side * factor for side in painting.density.shape)
    first = downsamples[0] if downsamples else 0
    reduced = np.empty((height // first, width // first, 3), np.uint8) if first else None
    with tifffile.TiffWriter(path) as file:
        _write_level(
            file, _tiles(painting, factor, reduced), (height, width), 1, mpp, resolution_tags
        )
        for before, downsample in zip((first, *downsamples), downsamples, strict=False):
            if downsample > before:
                size = (width // downsample, height // downsample)
                reduced = cv2.resize(reduced, size, interpolation=cv2.INTER_AREA)
            shape = reduced.shape[:2]
            _write_level(file, _cut(reduced), shape, downsample, mpp, resolution_tags)


def _write_level(
    file: tifffile.TiffWriter,
    tiles: Iterator[NDArray[np.uint8]],
    shape: tuple[int, int],
    downsample: int,
    mpp: float,
    resolution_tags: bool,
) -> None:
    """Write one directory of the file; reduced levels carry the reduced-image flag."""
    scale = {}
    if resolution_tags:
        per_centimetre = 10_000 / (mpp * downsample)
        scale = {"resolution": (per_centimetre, per_centimetre), "resolutionunit": "CENTIMETER"}
    file.write(
        tiles,
        shape=(*shape, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",  # given as RGB, stored as YCbCr 4:2:0
        compression="jpeg",
        compressionargs={"level": QUALITY},
        subsampling=(2, 2),
        subfiletype=0 if downsample == 1 else 1,
        software="",
        metadata=None,
        maxworkers=1,
        **scale,
    )


def _cut(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of an image row by row; those at its ends repeat the last pixels."""
    height, width = image.shape[:2]
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = image[top : top + TILE, left : left + TILE]
            below, right = TILE - tile.shape[0], TILE - tile.shape[1]
            if below or right:
                tile = cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REPLICATE)
            yield np.ascontiguousarray(tile)


def _tiles(
    painting: Painting, factor: int, reduced: NDArray[np.uint8] | None
) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of level 0 and fill the first reduced level on the way, strip by strip."""
    height = painting.density.shape[0]
    rng = np.random.default_rng(0)  # one grain for all slides: it carries no information
    fine, coarse = tileable_noise(rng, TEXTURE, 1.6, 1.6), tileable_noise(rng, TEXTURE, 4, 4)
    grain = 150 + 26 * fine + 22 * coarse
    grain = np.clip(grain, 0, 255).astype(np.uint8)
    absorbed = _transmission(painting)
    step = TILE // factor  # one row of tiles
    for top in range(0, height, step):
        strip = _magnify(painting, top, min(height, top + step), factor, grain, absorbed)
        if reduced is not None:
            ratio = height * factor // reduced.shape[0]
            first, rows = top * factor // ratio, strip.shape[0] // ratio
            size = (reduced.shape[1], rows)
            reduced[first : first + rows] = cv2.resize(strip, size, interpolation=cv2.INTER_AREA)
        yield from _cut(strip)


def _transmission(painting: Painting) -> list[NDArray[np.uint8]]:
    """Return, for each colour, the light that 0 to 255 of nuclear haematoxylin lets through."""
    amount = np.arange(256) / 255 * 1.25
    return [
        np.rint(255 * 10 ** (-amount * dye)).astype(np.uint8) for dye in painting.stain.haematoxylin
    ]


def _magnify(
    painting: Painting,
    top: int,
    bottom: int,
    factor: int,
    grain: NDArray[np.uint8],
    absorbed: list[NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    """Return level-0 rows of um `top` to `bottom`: base, times nuclei, with grain on both."""
    base = _enlarge(painting.base, top, bottom, 1, factor)
    nuclei = _enlarge(painting.nuclei, top, bottom, NUCLEI_SCALE, factor // NUCLEI_SCALE)
    density = _enlarge(painting.density, top, bottom, 1, factor)
    rows, columns = density.shape
    start = top * factor % TEXTURE
    texture = np.tile(grain[start : start + rows], (1, -(-columns // TEXTURE)))[:, :columns]
    fine = cv2.multiply(density, texture[::-1], scale=0.20 / 255)
    chromatin = cv2.multiply(nuclei, texture, scale=1 / 150)
    amount = cv2.add(chromatin, fine)
    light = cv2.merge([cv2.LUT(amount, table) for table in absorbed])
    return cv2.multiply(base, light, scale=1 / 255)


def _enlarge(
    image: NDArray[np.uint8], top: int, bottom: int, pixels: int, factor: int
) -> NDArray[np.uint8]:
    """Enlarge the rows of um `top` to `bottom` of an image with that many pixels per um.

    A halo makes strips meet without seams.
    """
    first = max(0, (top - HALO) * pixels)
    last = min(image.shape[0], (bottom + HALO) * pixels)
    part = image[first:last]
    if factor > 1:
        size = (part.shape[1] * factor, part.shape[0] * factor)
        part = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
    start = (top * pixels - first) * factor
    return part[start : start + (bottom - top) * pixels * factor]
