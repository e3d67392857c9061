"""Laying patches: coarse patches on tissue, and their 4 x 4 fine children."""

import json
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from wsi.coordinate_files import CoordinateFileError, read_coordinates
from wsi.grid import children, lay
from wsi.outcome import SlideError, slide_stage
from wsi.outlines import FOLD, MASK_MPP, PEN, TISSUE, read_outlines
from wsi.patch_quality import FLAGS, flags, measure_each, measure_patches
from wsi.picture import draw_grid
from wsi.reader import Slide
from wsi.scale import CHILDREN, RATIO, ReadPlan, plan_fine
from wsi.storage import Outcome, write_h5
from wsi.tissue_area import AreaOf

log = logging.getLogger(__name__)

SAME_SIDE = 0.01  # by which patches given may differ in size from the coarse patches planned


@slide_stage(writes=("level2", "level1", "picture"), after="tissue")
def make_patches(
    *,
    slide_id: str,
    slide: str,
    tissue: str,
    thumbnail: str,
    level2: str,
    level1: str,
    picture: str,
    scale: Mapping[str, object],
    patches: Mapping[str, object],
    drop: Sequence[str] = (),
    given: str | None = None,
) -> None:
    """Lay coarse patches on the tissue of a slide and split each into 16 fine ones.

    Children are rows ``16k..16k+15`` of the fine file, y outer and x inner, all of them always:
    models average every 16 rows (specification wsi 5.1, advmil 1.4). Beside each patch stands what
    is known of it (:mod:`wsi.patch_quality`); flagged patches stay, unless `drop` names the flag.

    Parameters
    ----------
    slide_id, slide, tissue, thumbnail : name of the slide, its file, and what find_tissue wrote.
    level2, level1 : HDF5 files to write, CLAM's layout: ``coords`` ``[N, 2]`` int64, top-left
        corners in level-0 pixels, measures and ``flags`` ``[N]`` beside them.
    picture : JPEG to write: the thumbnail with the coarse patches, dropped ones crossed out.
    scale : ``by``, ``coarse`` and ``fine`` (um/px, downsample, or level).
    patches : ``size``, ``step``, ``grid``, ``rule``, ``min_tissue``, ``padding``, ``pad``; see
        :func:`wsi.grid.lay`. With ``legacy_offsets`` children are ``size`` level-0 pixels apart
        whatever their footprint, as AdvMIL's published code laid them: they overlap, and leave the
        rest of the coarse patch out.
    drop : flags whose coarse patches are left out: ``pen``, ``fold``, ``blur``.
    given : file of coarse coordinates made elsewhere, in place of a grid, or None.

    Raises
    ------
    SlideError
        Kinds ``no_scale`` and ``no_tissue``.
    """
    regions, facts = read_outlines(tissue)
    mpp0, size = float(facts["mpp0"]), int(patches["size"])
    white = np.array(facts["white"], np.float32)
    legacy = bool(patches.get("legacy_offsets"))
    with Slide(slide) as opened:
        fine = plan_fine(opened, scale, mpp0, size)
        coarse = plan_coarse(opened, scale, fine, size)
        shares = {
            kind: AreaOf(regions[kind], *opened.dimensions, MASK_MPP / mpp0) for kind in regions
        }
        if given:
            coords = given_coordinates(given, coarse.footprint, opened.dimensions)
        else:
            by_level = (opened.level_dimensions, coarse.level) if scale["by"] == "level" else None
            coords = lay(
                regions[TISSUE],
                shares[TISSUE],
                coarse.footprint,
                patches,
                dimensions=opened.dimensions,
                bounds=opened.bounds,
                clam_level=by_level,
            )
        if not len(coords):
            raise SlideError("no_tissue", why_no_patch(patches, shares[TISSUE], coarse, opened))
        measured = measure_patches(opened, coords, coarse.footprint, mpp0, white)
        fine_coords, of_fine = children(coords, fine.footprint), measured.fine
        if legacy:
            fine_coords = children(coords, size)
            of_fine = measure_each(opened, fine_coords, fine.footprint, mpp0, white)
        levels = opened.level_dimensions
        damaged = len(opened.damaged)
    columns = _columns(coords, coarse.footprint, shares, measured.coarse)
    columns["unreadable"] = measured.unreadable
    fine_columns = _columns(fine_coords, fine.footprint, shares, of_fine)
    lost, dropped = _dropped(columns["flags"], drop, slide_id)
    shared = {
        **{name: facts[name] for name in ("mpp0", "mpp_source", "width0", "height0", "bounds")},
        "fingerprint": facts["fingerprint"],
        "size": size,
        "scale_by": scale["by"],
        "patches": json.dumps(dict(patches), sort_keys=True),
        "given": given or "",
        "pad": patches["pad"],
        "legacy_offsets": legacy,
        "flag_names": ",".join(FLAGS),
        "dropped": json.dumps(dropped, sort_keys=True),
        "dropped_patches": int(lost.sum()),
        "blurred_share": _share(columns["flags"], "blur"),
        "damaged_tiles": damaged,
    }
    for path, plan, table, repeats, target in (
        (level2, coarse, columns, 1, scale["coarse"]),
        (level1, fine, fine_columns, CHILDREN, scale["fine"]),
    ):
        kept = np.repeat(~lost, repeats)
        write_h5(
            path,
            Outcome(slide_id, "make_patches"),
            {name: values[kept] for name, values in table.items()},
            {**shared, "target": target, "footprint0": plan.footprint, "read_size": plan.read_size},
            _clam_attributes(slide_id, plan, levels),
        )
    sides = coarse.footprint, coarse.footprint
    draw_grid(thumbnail, coords[~lost], coords[lost], sides, facts["bounds"], picture)


def plan_coarse(slide: Slide, scale: Mapping[str, object], fine: ReadPlan, size: int) -> ReadPlan:
    """Plan the coarse patches: exactly 4 x 4 fine ones."""
    footprint = fine.footprint * RATIO
    level = slide.best_level(footprint / size)
    if scale["by"] == "level":
        level = int(scale["coarse"])
    read_size = round(footprint / (sum(slide.downsample(level)) / 2))
    return ReadPlan(level, read_size, size, footprint)


def given_coordinates(path: str, footprint: int, dimensions: tuple[int, int]) -> np.ndarray:
    """Return the coarse patches of a file made elsewhere."""
    try:
        found = read_coordinates(path)
    except CoordinateFileError as error:
        raise SlideError("no_tissue", f"{error}") from error
    if any(abs(side - footprint) > SAME_SIDE * footprint for side in found.footprint0):
        raise SlideError(
            "no_scale",
            f"{path} has patches of {found.footprint0[0]:g} x {found.footprint0[1]:g} level-0 "
            f"pixels, but coarse patches are {footprint}; choose scale and patches: size to match.",
        )
    if found.size0 not in (None, tuple(dimensions)):
        raise SlideError(
            "no_tissue",
            f"{path} is of a slide of {found.size0[0]} x {found.size0[1]} pixels, and this one has "
            f"{dimensions[0]} x {dimensions[1]}; correct column patches of slides.csv.",
        )
    outside = np.flatnonzero((found.coords >= dimensions).any(axis=1))
    if len(outside):
        raise SlideError(
            "no_tissue",
            f"{path}: row {outside[0]} is at {tuple(found.coords[outside[0]].tolist())}, outside "
            f"the slide ({dimensions[0]} x {dimensions[1]}); correct column patches of slides.csv.",
        )
    return found.coords


def _columns(
    coords: np.ndarray,
    side: int,
    shares: Mapping[str, AreaOf],
    measures: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return all that is stored of patches, row by row."""
    tissue, pen, fold = (shares[kind].fraction(coords, side) for kind in (TISSUE, PEN, FOLD))
    return {
        "coords": coords,
        "tissue_fraction": tissue,
        "pen": pen.astype(np.float16),
        "fold": fold.astype(np.float16),
        **measures,
        "flags": flags(tissue, pen, fold, measures["focus"]),
    }


def _dropped(
    found: np.ndarray, drop: Sequence[str], slide_id: str
) -> tuple[np.ndarray, dict[str, int]]:
    """Return which coarse patches are left out, and how many have each flag."""
    hits = {flag: (found >> FLAGS.index(flag) & 1).astype(bool) for flag in drop}
    counts = {flag: int(hit.sum()) for flag, hit in hits.items()}
    lost = np.logical_or.reduce([np.zeros(len(found), bool), *hits.values()])
    said = ", ".join(f"{flag} {count}" for flag, count in counts.items())
    if lost.all():
        raise SlideError(
            "no_tissue",
            f"all {len(lost)} coarse patches are flagged ({said}) and dropped; look at the slide, "
            "and drop less (tissue: drop).",
        )
    if lost.any():
        log.warning(
            "slide %s: %d of %d coarse patches dropped (%s)", slide_id, lost.sum(), len(lost), said
        )
    return lost, counts


def _share(values: np.ndarray, flag: str) -> float:
    return float((values >> FLAGS.index(flag) & 1).mean())


def _clam_attributes(
    slide_id: str, plan: ReadPlan, levels: Sequence[tuple[int, int]]
) -> dict[str, object]:
    """Return CLAM's attributes; patch_size counts pixels of patch_level, whatever is encoded."""
    (w0, h0), (width, height) = levels[0], levels[plan.level]
    return {
        "patch_size": plan.read_size,
        "patch_level": plan.level,
        "downsample": np.array((w0 / width, h0 / height)),
        "level_dim": np.array((width, height), np.int64),
        "downsampled_level_dim": np.array((width, height), np.int64),
        "name": slide_id,
        "save_path": "patches",
    }


def why_no_patch(
    patches: Mapping[str, object], tissue: AreaOf, coarse: ReadPlan, slide: Slide
) -> str:
    """Return the sentence for a slide without any coarse patch, with the most tissue in one."""
    if patches["rule"] != "fraction":
        return (
            f"no patch of {coarse.footprint} px lies on tissue by rule {patches['rule']}; choose "
            "rule: fraction, or leave the slide out."
        )
    every = lay(
        [],
        tissue,
        coarse.footprint,
        {**patches, "grid": "slide", "min_tissue": 0.0},
        dimensions=slide.dimensions,
        bounds=slide.bounds,
        clam_level=None,
    )
    most = tissue.fraction(every, coarse.footprint).max(initial=0)
    return (
        f"no patch of {coarse.footprint} px has {patches['min_tissue']:.0%} tissue (the most is "
        f"{most:.0%}); lower patches: min_tissue, or leave the slide out."
    )
