"""Scores of patches over their slide as a pyramidal TIFF, for any slide viewer."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import tifffile

from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.scale import find_mpp
from wsi.storage import atomic

log = logging.getLogger(__name__)

TILE, QUALITY = 256, 88
SQUARE = 32  # pixels: side of a patch in the picture
OPACITY = 0.6  # of the colours over the slide in grey, as in heatmaps
ROWS = 1024  # painted at once


def write_score_pyramids(
    *, slides: Mapping[str, str], scores: str, to: str, square: int = SQUARE
) -> None:
    """Write ``<to>/<slide>.tiff`` for every slide that has a GeoJSON file of scores.

    Parameters
    ----------
    slides : file of each slide, by its id.
    scores : folder of ``<slide>.geojson`` that ``python -m mil export_scores`` wrote.
    to : folder to write.
    square : as for `write_score_pyramid`.

    Raises
    ------
    ValueError : no scores, or of a slide whose file is not given.
    """
    found = sorted(Path(scores).glob("*.geojson"))
    unknown = [path.stem for path in found if not slides.get(path.stem)]
    if unknown or not found:
        raise ValueError(
            f"{scores}: no file of slide {unknown[0]} is given"
            if unknown
            else f"{scores}: no <slide>.geojson is in it; export scores first"
        )
    Path(to).mkdir(parents=True, exist_ok=True)
    for path in found:
        write_score_pyramid(
            slide=slides[path.stem],
            scores=str(path),
            pyramid=str(Path(to) / f"{path.stem}.tiff"),
            square=square,
        )


def write_score_pyramid(*, slide: str, scores: str, pyramid: str, square: int = SQUARE) -> None:
    """Write the slide in grey under the colours of its patches, as OpenSlide and QuPath open it.

    The picture begins where what was scanned does. Colours are those of the GeoJSON file, of the
    contribution where there is one and else of the attention; where patches overlap, their mean.

    Parameters
    ----------
    slide : the slide's file.
    scores : GeoJSON of its patches that ``python -m mil export_scores`` wrote.
    pyramid : TIFF to write, tiled, each level half as wide as the one before.
    square : side of a patch in pixels of the largest level. Memory and file grow with its square.

    Raises
    ------
    ValueError : no patch in the file.
    wsi.outcome.SlideError : the slide cannot be opened.
    """
    low, high, colours = _read_colours(scores)
    with Slide(slide) as opened:
        picture = opened.overview(float(np.median(high - low)) / square)
        scale = np.array(picture.shape[1::-1]) / opened.bounds[2:]
        mpp = _mpp(opened)
    first = np.rint(low * scale).astype(int)
    behind = np.maximum(first + 1, np.rint(high * scale).astype(int))
    _paint(picture, first, behind, colours)
    with atomic(pyramid) as partial, tifffile.TiffWriter(partial) as file:
        for number, level in enumerate(_levels(picture)):
            _write(file, level, number, None if mpp is None else mpp / scale[0])
    log.info("%s: %d patches", pyramid, len(low))


def _read_colours(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return corners [N, 2], from that of what was scanned, and colours [N, 3] of the patches."""
    features = json.loads(Path(path).read_text())["features"]
    if not features:
        raise ValueError(f"{path}: there is no patch in it")
    rings = np.array([one["geometry"]["coordinates"][0] for one in features])  # [N, 5, 2]
    colours = np.array([one["properties"]["color"] for one in features], np.float32)
    return rings.min(axis=1), rings.max(axis=1), colours


def _mpp(slide: Slide) -> float | None:
    try:
        return find_mpp(slide, None)[0]
    except SlideError:
        return None


def _paint(picture: np.ndarray, first: np.ndarray, behind: np.ndarray, colours: np.ndarray) -> None:
    """Turn a picture [H, W, 3] grey and colour the rectangles, in place and strip by strip."""
    for top in range(0, len(picture), ROWS):
        strip = picture[top : top + ROWS]
        total = np.zeros(strip.shape, np.float32)
        count = np.zeros((*strip.shape[:2], 1), np.float32)
        inside = np.flatnonzero((first[:, 1] < top + ROWS) & (behind[:, 1] > top))
        for (x0, y0), (x1, y1), colour in zip(
            first[inside].clip(0), behind[inside].clip(0), colours[inside], strict=True
        ):
            where = slice(max(y0 - top, 0), y1 - top), slice(x0, x1)
            total[where] += colour
            count[where] += 1
        grey = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY)[..., None]
        share = OPACITY * (count > 0)
        strip[:] = np.rint(grey * (1 - share) + total / np.maximum(count, 1) * share)


def _levels(picture: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the picture, and halves of it until it fits into one tile."""
    yield picture
    while max(picture.shape[:2]) > TILE:
        size = [max(1, side // 2) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        yield picture


def _write(file: tifffile.TiffWriter, level: np.ndarray, number: int, mpp: float | None) -> None:
    """Write a level; `mpp` is that of the first."""
    scale = {}
    if mpp is not None:
        per_centimetre = 10_000 / (mpp * 2**number)
        scale = {"resolution": (per_centimetre, per_centimetre), "resolutionunit": "CENTIMETER"}
    file.write(
        level,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": QUALITY},
        subfiletype=1 if number else 0,
        software="",
        metadata=None,
        maxworkers=1,
        **scale,
    )
