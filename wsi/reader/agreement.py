"""Whether the direct back end shows what OpenSlide shows, on a sample of tiles."""

from itertools import zip_longest

import cv2
import numpy as np
import openslide

from wsi.reader.backend import DamagedError
from wsi.reader.sample import largest_tiles
from wsi.reader.tiff_backend import TiffBackend

SAMPLE = 8  # tiles of a slide that are compared
TRIED = 64  # tiles tried, as damaged ones cannot be compared
GREY_LEVELS = 1  # two decoders of the same JPEG differ by no more
SUBPIXEL = 0.02  # of a pixel by which OpenSlide's region may begin beside the tile


def disagreement(backend: TiffBackend, handle: openslide.OpenSlide) -> str:
    """Compare sampled tiles with OpenSlide's pixels; return what is wrong, or an empty string.

    Tiles with many bytes, which show tissue, are preferred. The sample is the same every time.
    Every kind of storage must agree at least once. Tiles that the backend calls damaged say
    nothing more: OpenSlide may read them, since it does not verify the checksums of deflate.
    """
    levels = range(len(backend.level_dimensions))
    unproven = {backend.kind(level): "no tile could be compared" for level in levels}
    compared = 0
    for level, column, row in _sample(backend, handle):
        width, height = backend.storage_tile(level)
        level_width, level_height = backend.level_dimensions[level]
        left, top = column * width, row * height
        width, height = min(width, level_width - left), min(height, level_height - top)
        place = f"level {level}, column {column}, row {row}"
        try:
            mine = backend.read(level, left, top, width, height)
        except DamagedError as error:
            if backend.kind(level) in unproven:
                unproven[backend.kind(level)] = f"{place}: {error}"
            continue
        where = [round(edge * handle.level_downsamples[level]) for edge in (left, top)]
        try:
            theirs = np.asarray(handle.read_region(where, level, (width, height)))
        except openslide.OpenSlideError as error:
            # its handle is dead now; what was compared so far decides
            return f"OpenSlide cannot read {place}: {error}" if unproven else ""
        if mine.shape[2] == 4:
            continue
        beside = sum(
            abs(at / handle.level_downsamples[level] - edge)
            for at, edge in zip(where, (left, top), strict=True)
        )
        difference = cv2.absdiff(mine, np.ascontiguousarray(theirs[..., :3]))
        clear = theirs[..., 3] < 255
        difference[clear] = 0
        if difference.max() > GREY_LEVELS + 255 * beside:
            return f"{place} differs by {difference.max()} grey levels"
        if not clear.all():
            unproven.pop(backend.kind(level), None)
            compared += 1
        if compared == SAMPLE and not unproven:
            return ""
    return next(iter(unproven.values()), "")


def _sample(backend: TiffBackend, handle: openslide.OpenSlide) -> list[tuple[int, int, int]]:
    """Return level, column and row of the tiles to compare, on levels that both have."""
    chosen = []
    for level, size in enumerate(handle.level_dimensions):
        if backend.level_dimensions[level] != size:
            break
        factor = handle.level_downsamples[level]
        width, height = backend.storage_tile(level)
        exact = [
            (level, column, row)
            for column, row in largest_tiles(backend, level)
            if all(
                abs(round(edge * factor) / factor - edge) < SUBPIXEL
                for edge in (column * width, row * height)
            )
        ]
        chosen.append(exact[:TRIED])
    # in turn from every level, finest first
    turns = [tile for group in zip_longest(*chosen) for tile in group if tile]
    return turns[:TRIED]
