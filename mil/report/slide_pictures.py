"""Small pictures of slides with their patches; sizes of bags and clusters."""

import base64
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mil.report.cohort_flow import words
from wsi.storage import load_npz, read_h5, read_outcome

LONG_SIDE = 420  # pixels
QUALITY = 72
NO_PICTURE = ("unreadable", "no_scale", "excluded", "no_features", "no_coords")  # kinds
EMPTY = 238  # grey of the square that stands for a slide without picture


@dataclass(frozen=True)
class SlidePicture:
    """A slide in the gallery; `picture` is a data URI."""

    slide_id: str
    picture: str
    alt: str
    note: str
    failed: bool


@dataclass(frozen=True)
class Spread:
    """Median and range of a quantity over slides, patches or clusters."""

    label: str
    n: int
    median: float
    least: float
    most: float


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a URI that stands in the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def inlined(path: str | Path) -> str:
    """Return a picture file as a data URI."""
    kind, _ = mimetypes.guess_type(str(path))
    return data_uri(Path(path).read_bytes(), kind or "application/octet-stream")


def gallery(
    root: Path,
    slides: Iterable[str],
    failed: Mapping[str, str],
    imported: Mapping[str, int] | None = None,
) -> list[SlidePicture]:
    """Return the pictures of slides.

    Parameters
    ----------
    root : the results folder.
    slides : ids.
    failed : the kind of those that are not used.
    imported : where features were made elsewhere, the number of patches of each usable slide.
    """
    return [_slide_picture(root, slide, failed.get(slide), imported) for slide in slides]


def _slide_picture(
    root: Path, slide: str, kind: str | None, imported: Mapping[str, int] | None
) -> SlidePicture:
    patches = root / f"patches/level2/{slide}.h5"
    if imported is None:
        laid = patches.is_file() and read_outcome(patches).ok
    else:
        laid = slide in imported
    shown = root / (f"patches/{slide}.jpg" if laid else f"tissue/{slide}.jpg")
    known = shown.is_file() and (laid or kind not in NO_PICTURE)
    picture = _small(shown) if known else np.full((64, 64, 3), EMPTY, np.uint8)
    note = "no patches"
    if laid:
        note = f"{imported[slide]:,} patches" if imported else _count(patches)
    if kind is not None:
        note = f"not used: {words(kind)}"
    seen = "tissue outlined" if imported is None else "patches"
    alt = f"Slide {slide}: {seen}, {note}" if known else f"Slide {slide}: {note}"
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return SlidePicture(slide, data_uri(jpeg.tobytes(), "image/jpeg"), alt, note, kind is not None)


def _small(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    factor = LONG_SIDE / max(picture.shape[:2])
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _count(patches: Path) -> str:
    arrays, attributes = read_h5(patches)
    note = f"{len(arrays['coords'])} coarse patches"
    dropped = int(attributes["dropped_patches"])
    return f"{note}, {dropped} dropped" if dropped else note


def structure(root: Path, cohort: Sequence[Mapping[str, str]]) -> list[Spread]:
    """Return how large bags and clusters are.

    Parameters
    ----------
    root : the results folder.
    cohort : rows of ``cohort/<encoder>.csv`` to look at.
    """
    patches = np.array([int(row["n_patches"]) for row in cohort])
    clusters = [
        np.bincount(load_npz(root / path)[0]["cluster"])
        for path in sorted({row["clusters"] for row in cohort})
    ]
    return [
        spread("Fine patches of a slide", patches),
        spread("Fine patches of a cluster", *(sizes[sizes > 0] for sizes in clusters)),
        spread("Clusters of a patient", [int((sizes > 0).sum()) for sizes in clusters]),
    ]


def spread(label: str, *values: Sequence[float] | np.ndarray) -> Spread:
    """Return median and range of all `values` together."""
    every = np.concatenate([np.asarray(part) for part in values]) if values else np.zeros(0)
    if not len(every):
        return Spread(label, 0, np.nan, np.nan, np.nan)
    return Spread(
        label, len(every), float(np.median(every)), float(every.min()), float(every.max())
    )
