"""Whether the direct back end shows what OpenSlide shows, on a sample of tiles."""

import numpy as np
import openslide

from wsi.reader.backend import DamagedError
from wsi.reader.tiff_backend import TiffBackend

SAMPLE = 8  # tiles of a slide
TRIED = 256  # tiles that the sample is chosen from
GREY_LEVELS = 1  # two decoders of the same JPEG differ by no more
SUBPIXEL = 0.02  # of a pixel by which OpenSlide's region may begin beside the tile
LEVELS_AGREE = 12  # grey levels; levels whose areas differ less can watch over each other
TOLERANCE = 24  # grey levels; see TiffBackend.tolerance


def disagreement(backend: TiffBackend, handle: openslide.OpenSlide) -> str:
    """Compare sampled tiles with OpenSlide's pixels; return what is wrong, or an empty string.

    Tiles with many bytes, which show tissue, are preferred. The sample is the same every time.
    Tiles that neither can read say nothing.
    """
    compared = 0
    for level, column, row in _sample(backend, handle):
        width, height = backend.storage_tile(level)
        level_width, level_height = backend.level_dimensions[level]
        left, top = column * width, row * height
        width, height = min(width, level_width - left), min(height, level_height - top)
        where = [round(edge * handle.level_downsamples[level]) for edge in (left, top)]
        try:
            theirs = np.asarray(handle.read_region(where, level, (width, height)))
        except openslide.OpenSlideError as error:
            # its handle is dead now; what was compared so far decides
            return "" if compared else f"OpenSlide cannot read the tile sampled first: {error}"
        try:
            mine = backend.read(level, left, top, width, height)
        except DamagedError as error:
            return f"level {level}, column {column}, row {row}: {error}"
        if mine.shape[2] == 4:
            continue
        beside = sum(
            abs(at / handle.level_downsamples[level] - edge)
            for at, edge in zip(where, (left, top), strict=True)
        )
        difference = np.abs(mine.astype(int) - theirs[..., :3])[theirs[..., 3] == 255]
        if difference.max(initial=0) > GREY_LEVELS + 255 * beside:
            return (
                f"level {level}, column {column}, row {row} differs by "
                f"{difference.max()} grey levels"
            )
        compared += difference.size > 0
    return "" if compared else "no tile could be compared"


def watch_levels(backend: TiffBackend) -> None:
    """Let the backend compare tiles with the coarser level, if a sample shows that levels agree.

    Levels of most scanners are means of each other, but not of all: some pick single pixels.
    """
    differences = []
    for level in range(len(backend.level_dimensions) - 1):
        for column, row in _largest(backend, level)[:SAMPLE]:
            try:
                tile = backend.tile(level, column, row)
            except DamagedError:
                continue
            if tile is not None:
                differences.append(backend.difference_to_coarser(level, column, row, tile))
    # a median, since a damaged tile may be in the sample
    if differences and np.percentile(differences, 75) <= LEVELS_AGREE:
        backend.tolerance = TOLERANCE


def _sample(backend: TiffBackend, handle: openslide.OpenSlide) -> list[tuple[int, int, int]]:
    """Return level, column and row of the tiles to compare, on levels that both have."""
    shared = [
        level
        for level, size in enumerate(handle.level_dimensions)
        if level < len(backend.level_dimensions) and backend.level_dimensions[level] == size
    ]
    chosen = []
    for level in shared:
        factor = handle.level_downsamples[level]
        width, height = backend.storage_tile(level)
        exact = [
            (level, column, row)
            for column, row in _largest(backend, level)
            if all(
                abs(round(edge * factor) / factor - edge) < SUBPIXEL
                for edge in (column * width, row * height)
            )
        ]
        chosen.append(exact)
    # in turn from every level, finest first, until the sample is full
    turns = [tile for group in zip(*map(_padded, chosen), strict=True) for tile in group if tile]
    return turns[:SAMPLE]


def _padded(tiles: list) -> list:
    return [*tiles, *[None] * SAMPLE][:SAMPLE]


def _largest(backend: TiffBackend, level: int) -> list[tuple[int, int]]:
    """Return columns and rows of some tiles of a level, those with most bytes first."""
    (width, height), (tile_width, tile_height) = (
        backend.level_dimensions[level],
        backend.storage_tile(level),
    )
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    # evenly over the whole level, by a step that does not repeat columns
    step = max(1, columns * rows // TRIED) | 1
    tiles = [divmod(index, columns)[::-1] for index in range(0, columns * rows, step)][:TRIED]
    return sorted(tiles, key=lambda tile: -backend.compressed_size(level, *tile))
