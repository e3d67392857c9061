"""One slide before the run: is it readable, what is its scale, how many patches will it have."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from wsi.fingerprint import fingerprint
from wsi.grid import lay
from wsi.outcome import SlideError
from wsi.outlines import MASK_MPP, TISSUE, read_outlines
from wsi.patch_quality import measure_patches
from wsi.patches import given_coordinates, plan_coarse, why_no_patch
from wsi.preflight.rows import SlideRow
from wsi.preflight.sample import sample_tissue
from wsi.reader import Slide
from wsi.scale import CHILDREN, RATIO, ReadPlan, find_mpp, plan_fine
from wsi.tissue import MASK_DOWNSAMPLE, find_tissue
from wsi.tissue_area import AreaOf

PLACES = 6  # coarse patches read, spread over the tissue
SECONDS = 3.0  # after which no further place is read
LONG = 20.0  # seconds; where the overview would take longer, tissue is sampled instead
QUICK = 5e7  # pixels of an overview that are always read: a second or two
PROBE = 1024  # side of the regions that tell how long an overview would take


def check_slide(entry: Mapping[str, object], *, scale: Mapping[str, object]) -> SlideRow:
    """Open one slide, find its patches as the run will, and read a few of them.

    Parameters
    ----------
    entry : ``slide_id, patient_id, path, mpp, tissue, patches`` of the slide table; ``parameters``
        of :func:`wsi.tissue.find_tissue` and ``laying``, the ``patches`` of
        :func:`wsi.patches.make_patches`.
    scale : as for both.

    Returns
    -------
    What was found out; a problem of the slide is its status and is not raised.
    """
    row = SlideRow(str(entry["slide_id"]), str(entry["patient_id"]), str(entry["path"]))
    with _warnings() as said:
        try:
            with Slide(row.path) as slide:
                _describe(row, slide)
                mpp0 = _find_scale(row, slide, entry["mpp"], scale)
                plan = plan_fine(slide, scale, mpp0, int(entry["laying"]["size"]))
                row.read_level = plan.level
                row.read_factor = round(plan.read_size / plan.size, 3)
                seconds = _overview_seconds(slide, mpp0)
                if seconds > LONG:
                    _sample(row, slide, entry, plan, mpp0, seconds)
            if seconds <= LONG:
                _count(row, entry, scale, plan, mpp0)
        except SlideError as error:
            row.status, row.reason = error.kind, str(error).removeprefix(f"slide {row.slide_id}: ")
    if row.usable:
        for sentence in list(dict.fromkeys(said))[:3]:
            row.look(sentence if sentence.endswith((".", "?")) else f"{sentence}.")
    return row


def _describe(row: SlideRow, slide: Slide) -> None:
    path = Path(row.path)
    beside = path.with_suffix("")  # MIRAX: the pixels lie in a folder of the same name
    parts = [path, *(beside.rglob("*") if beside != path and beside.is_dir() else ())]
    row.size_bytes = sum(part.stat().st_size for part in parts if part.is_file())
    row.format, row.backend = slide.format, slide.backend
    row.width, row.height = slide.dimensions
    downsamples = [sum(slide.downsample(n)) / 2 for n in range(len(slide.level_dimensions))]
    row.levels = " ".join(f"{downsample:.4g}" for downsample in downsamples)
    row.fingerprint = fingerprint(path, slide.properties)


def _find_scale(row: SlideRow, slide: Slide, given: object, scale: Mapping[str, object]) -> float:
    """Return um per level-0 pixel; where none is known or needed, what find_tissue assumes."""
    try:
        row.mpp, row.mpp_source = find_mpp(slide, given)
    except SlideError:
        if scale["by"] == "mpp":
            raise
        return MASK_MPP / MASK_DOWNSAMPLE
    return row.mpp


def _overview_seconds(slide: Slide, mpp0: float) -> float:
    """Return how long the overview for tissue takes at most to read; 0 where that is not long."""
    level = slide.best_level(MASK_MPP / mpp0)
    width, height = slide.level_dimensions[level]
    if width * height <= QUICK:
        return 0.0
    x, y, w, h = slide.bounds
    start = time.perf_counter()
    for part in (0.3, 0.5, 0.7):
        slide.read(int(x + part * w), int(y + part * h), level, PROBE, PROBE)
    return (time.perf_counter() - start) * width * height / (3 * PROBE**2)


def _count(
    row: SlideRow,
    entry: Mapping[str, object],
    scale: Mapping[str, object],
    plan: ReadPlan,
    mpp0: float,
) -> None:
    """Find tissue and lay patches as the run does; read and measure a few of them."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        outlines = f"{folder}/tissue.geojson"
        outcome = find_tissue(
            slide_id=row.slide_id,
            slide=row.path,
            tissue=outlines,
            thumbnail=f"{folder}/tissue.jpg",
            mpp=entry["mpp"],
            scale_by=scale["by"],
            parameters=entry["parameters"],
            given=entry["tissue"],
        )
        if not outcome.ok:
            raise SlideError(outcome.kind, outcome.reason)
        regions, facts = read_outlines(outlines)
    if facts["check"]:
        row.look(str(facts["check"]))
    row.tissue_mm2 = round(float(facts["tissue_mm2"]), 2) if row.mpp else None
    with Slide(row.path) as slide:  # anew, here and below: the cache holds nothing
        corners = _corners(slide, entry, scale, plan, regions[TISSUE], mpp0)
        finding = time.perf_counter() - start
        row.estimate, row.patches = "counted", CHILDREN * len(corners)
        chosen = np.unique(np.linspace(0, len(corners) - 1, PLACES).round().astype(int))
        _read_places(row, slide, corners[chosen], plan)
    with Slide(row.path) as slide:
        start = time.perf_counter()
        white = np.array(facts["white"], np.float32)
        measure_patches(slide, corners[chosen], plan.footprint * RATIO, mpp0, white)
        measuring = (time.perf_counter() - start) * len(corners) / len(chosen)
    row.finding_s = round(finding + measuring, 3)


def _corners(
    slide: Slide,
    entry: Mapping[str, object],
    scale: Mapping[str, object],
    plan: ReadPlan,
    pieces: list[list[np.ndarray]],
    mpp0: float,
) -> np.ndarray:
    """Return the corners of the coarse patches, before any is dropped for its quality."""
    laying = entry["laying"]
    coarse = plan_coarse(slide, scale, plan, plan.size)
    if entry["patches"]:
        return given_coordinates(str(entry["patches"]), coarse.footprint, slide.dimensions)
    tissue = AreaOf(pieces, *slide.dimensions, MASK_MPP / mpp0)
    by_level = (slide.level_dimensions, coarse.level) if scale["by"] == "level" else None
    corners = lay(
        *(pieces, tissue, coarse.footprint, laying),
        dimensions=slide.dimensions,
        bounds=slide.bounds,
        clam_level=by_level,
    )
    if not len(corners):
        raise SlideError("no_tissue", why_no_patch(laying, tissue, coarse, slide))
    return corners


def _read_places(row: SlideRow, slide: Slide, corners: np.ndarray, plan: ReadPlan) -> None:
    """Read coarse patches, each with its 16 children, at the level of the fine ones."""
    side, small = RATIO * plan.read_size, RATIO * plan.size
    row.places_tried = row.places_unreadable = 0
    start = time.perf_counter()
    for x, y in corners:
        region, unreadable = slide.read(int(x), int(y), plan.level, side, side)
        if side != small:
            cv2.resize(region, (small, small), interpolation=cv2.INTER_AREA)
        row.places_tried += 1
        row.places_unreadable += unreadable > 0
        seconds = time.perf_counter() - start
        if seconds > SECONDS:
            break
    row.mpx_per_s = round(row.places_tried * side**2 / 1e6 / seconds, 2)
    row.reading_s = round(seconds / row.places_tried * row.patches / CHILDREN, 4)
    _judge_places(row)


def _sample(
    row: SlideRow,
    slide: Slide,
    entry: Mapping[str, object],
    plan: ReadPlan,
    mpp0: float,
    seconds: float,
) -> None:
    """Estimate from samples what cannot be counted in short time."""
    side, laying = plan.footprint * RATIO, entry["laying"]
    corners = lay(
        *([], AreaOf([], *slide.dimensions, MASK_MPP / mpp0), side),
        {**laying, "grid": "slide", "rule": "fraction", "min_tissue": 0.0},
        dimensions=slide.dimensions,
        bounds=slide.bounds,
        clam_level=None,
    )
    limits = {
        "min_tissue": float(laying["min_tissue"]),
        "close_um": float(entry["parameters"]["close_um"]),
    }
    sample = sample_tissue(slide, corners, plan, mpp0, **limits)
    row.estimate = "sampled"
    row.patches = CHILDREN * round(sample.kept * len(corners))
    if entry["patches"]:
        row.patches = CHILDREN * len(
            given_coordinates(str(entry["patches"]), side, slide.dimensions)
        )
    if row.mpp:
        scanned = slide.bounds[2] * slide.bounds[3] * (mpp0 / 1000) ** 2
        row.tissue_mm2 = round(sample.tissue * scanned, 2)
    row.places_tried, row.places_unreadable = sample.places, sample.unreadable
    row.mpx_per_s = round(plan.read_size**2 / 1e6 / sample.seconds, 2)
    row.finding_s = round(seconds, 3)
    row.reading_s = round(sample.seconds * row.patches, 4)
    row.look(
        f"It has no level near {MASK_MPP:g} um/px, so finding its tissue takes up to "
        f"{seconds / 60:.1f} min; tissue and patches are estimated from {sample.places} places."
    )
    if not row.patches:
        row.look("There was no tissue at any of them.")
    _judge_places(row)


def _judge_places(row: SlideRow) -> None:
    if row.places_unreadable:
        row.look(
            f"{row.places_unreadable} of {row.places_tried} places tried have parts that cannot be "
            "read; the run leaves a slide out if over 1 % of its patches cannot. Copy it again."
        )


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings of this package instead of printing them."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    package = logging.getLogger(__name__.partition(".")[0])
    package.addHandler(handler)
    propagate, package.propagate = package.propagate, False
    try:
        yield said
    finally:
        package.removeHandler(handler)
        package.propagate = propagate
