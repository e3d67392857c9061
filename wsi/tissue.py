"""Finding tissue on a slide: where it is, in level-0 pixels, as polygons with holes."""

from collections.abc import Mapping

from wsi.clam.segmentation import choose_level, parameters_of
from wsi.clam.segmentation import segment as segment_as_clam
from wsi.fingerprint import fingerprint
from wsi.folds import find_folds
from wsi.given_tissue import read_given_tissue
from wsi.outcome import SlideError, slide_stage
from wsi.outlines import FOLD, MASK_MPP, PEN, TISSUE, Pieces, area, polygons, write_outlines
from wsi.picture import draw_thumbnail
from wsi.reader import Slide
from wsi.scale import find_mpp
from wsi.segment import Segmentation, segment, white_point
from wsi.stain import stain_statistics

MASK_DOWNSAMPLE = 32.0  # used where patches are laid by downsample or level and no mpp is known
MAX_UNREADABLE = 0.01  # share of the overview
LARGEST_CLAM_LEVEL = 10**8  # pixels; CLAM, too, segments no larger level


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
    given: str | None = None,
) -> None:
    """Find the tissue of one slide, and what else an overview shows: pen, folds, stain.

    Parameters
    ----------
    slide_id, slide : name and path of the slide.
    tissue : GeoJSON to write: one Feature a piece, holes as inner rings; tissue, pen and folds.
    thumbnail : picture to write, everything outlined.
    mpp : um per level-0 pixel from the slide table, or None.
    scale_by : ``mpp``, ``downsample`` or ``level``; only ``mpp`` needs a known scale.
    parameters : ``preset`` and what belongs to it. ``default`` is our own, by physical size:
        ``close_um``, ``min_area_mm2``, ``min_hole_mm2`` (:func:`wsi.segment.segment`). The others
        are CLAM's, exactly; fields of :class:`wsi.clam.segmentation.ClamParameters` override the
        preset's.
    given : the user's own tissue in place of either (:func:`read_given_tissue`), or None.

    Raises
    ------
    SlideError
        Kinds ``unreadable``, ``no_scale``, ``no_tissue``, ``damaged``.
    """
    with Slide(slide) as opened:
        mpp0, source = _scale(opened, mpp, scale_by)
        overview = opened.overview(MASK_MPP / mpp0)
        if opened.unreadable_share > MAX_UNREADABLE:
            raise SlideError(
                "damaged",
                f"{opened.unreadable_share:.0%} of it cannot be read, so tissue would be missed; "
                "copy the slide again or leave it out (exclude).",
            )
        facts = _facts(opened, mpp0, source)
        x, y, width, height = opened.bounds
        factor = width / overview.shape[1], height / overview.shape[0]
        found = segment(overview, MASK_MPP, **_limits(parameters))
        if given:
            pieces = read_given_tissue(given, opened.dimensions, opened.bounds)
            method, check = f"given: {given}", ""
        elif parameters["preset"] == "default":
            pieces = polygons(found.tissue, (x, y), factor)
            method, check = found.method, found.check
        else:
            pieces = _pieces_of_clam(opened, parameters)
            method, check = f"CLAM ({parameters['preset']})", ""
    if not pieces:
        raise SlideError("no_tissue", _why_none(parameters, found))
    white = white_point(overview.reshape(-1, 3))
    folds = find_folds(overview, found.tissue, MASK_MPP, white)
    regions = {
        TISSUE: pieces,
        PEN: polygons(found.pen, (x, y), factor),
        FOLD: polygons(folds, (x, y), factor),
    }
    square_mm = (mpp0 / 1000) ** 2
    facts |= {
        "parameters": dict(parameters),
        "white": white.tolist(),
        "method": method,
        "check": check,
        "tissue_mm2": round(sum(map(area, pieces)) * square_mm, 4),
        "pieces": len(pieces),
        "pen_mm2": round(float(found.pen.sum()) * (MASK_MPP / 1000) ** 2, 4),
        "fold_share": round(float(folds.sum()) / max(1, int(found.tissue.sum())), 4),
        "stain": stain_statistics(overview, found.tissue, seed=0),
    }
    write_outlines(tissue, slide_id, regions, facts)
    draw_thumbnail(overview, regions, (x, y), factor, thumbnail)


def _scale(slide: Slide, given: float | None, scale_by: str) -> tuple[float, str]:
    try:
        return find_mpp(slide, given)
    except SlideError:
        if scale_by == "mpp":
            raise
        return MASK_MPP / MASK_DOWNSAMPLE, "assumed for tissue only"


def _facts(slide: Slide, mpp0: float, source: str) -> dict[str, object]:
    return {
        "file": slide.path.name,
        "mpp0": mpp0,
        "mpp_source": source,
        "width0": slide.dimensions[0],
        "height0": slide.dimensions[1],
        "bounds": list(slide.bounds),
        "levels": len(slide.level_dimensions),
        "level_dimensions": [list(size) for size in slide.level_dimensions],
        "format": slide.format,
        "backend": slide.backend,
        "fingerprint": fingerprint(slide.path, slide.properties),
        "icc_profile": "openslide.icc-size" in slide.properties,
        "unreadable_share": slide.unreadable_share,
    }


def _limits(parameters: Mapping[str, object]) -> dict[str, float]:
    names = ("close_um", "min_area_mm2", "min_hole_mm2")
    return {name: float(parameters[name]) for name in names}


def _pieces_of_clam(slide: Slide, parameters: Mapping[str, object]) -> Pieces:
    """Segment as CLAM does, from the level it takes."""
    chosen = parameters_of(parameters)
    level = chosen.seg_level
    if level < 0:
        level = choose_level(slide.level_dimensions)
    if level >= len(slide.level_dimensions):
        raise SlideError(
            "no_tissue",
            f"tissue: seg_level is {level}, but it has {len(slide.level_dimensions)} level(s); "
            "use -1, which chooses one.",
        )
    width, height = slide.level_dimensions[level]
    if width * height > LARGEST_CLAM_LEVEL:
        raise SlideError(
            "no_tissue",
            f"its level {level}, which CLAM would segment, has {width} x {height} pixels, over "
            "1e8; use tissue: preset: default, which reads any size.",
        )
    rgb, unreadable = slide.read(0, 0, level, width, height)
    if unreadable > MAX_UNREADABLE:
        raise SlideError(
            "damaged", f"{unreadable:.0%} of level {level} cannot be read; copy the slide again."
        )
    try:
        return segment_as_clam(rgb, slide.dimensions, chosen)
    except ValueError as error:
        raise SlideError("no_tissue", f"{error}") from error


def _why_none(parameters: Mapping[str, object], found: Segmentation) -> str:
    if parameters["preset"] == "default":
        return (
            f"no tissue. Nothing on it is larger than {parameters['min_area_mm2']} mm2 and has "
            "colour; look at the slide, and if tissue is there lower tissue: min_area_mm2."
        )
    hint = " Our own segmentation finds some: tissue: preset: default." * bool(found.tissue.any())
    return (
        f"no tissue by CLAM's parameters (preset {parameters['preset']}): no piece is larger than "
        f"a_t squares of 512 x 512 level-0 pixels.{hint}"
    )
