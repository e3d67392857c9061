"""Features made elsewhere, checked and written as our own, with a picture of where they lie."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi.coordinate_grid import are_regions
from wsi.imported_picture import Scan, draw_places, scan_slide
from wsi.layouts.finding import looked_for
from wsi.layouts.registry import LAYOUTS
from wsi.layouts.rows import ImportedRows
from wsi.outcome import SlideError, slide_stage
from wsi.storage import Outcome, sha256_arrays, sha256_file, write_h5

log = logging.getLogger(__name__)

UM = "coords are in um"  # source of a scale of 1 um: places are kept as they came
NOT_SAID = "not said"


@slide_stage(writes=("features", "thumbnail", "picture"))
def import_features(
    *,
    slide_id: str,
    slide: str,
    mpp: float | None,
    folder: str,
    layout: str,
    files: Mapping[str, str],
    encoder: str,
    features: str,
    thumbnail: str,
    picture: str,
) -> None:
    """Write the features of one slide as :func:`wsi.extract.extract_features` would.

    Parameters
    ----------
    slide_id, slide : name of the slide and its file, which need not exist; where it can be opened,
        it gives scale and picture.
    mpp : um per level-0 pixel from the slide table, or None.
    folder, layout : ``features.import`` and ``features.layout``.
    files : the slide's files by kind (:func:`wsi.layouts.finding.find_imported`); may be empty.
    encoder : name of the encoder, a label.
    features : HDF5 to write: ``features`` ``[N, D]`` float16 or float32 as it came, contiguous,
        ``coords`` ``[N, 2]`` int64; attribute ``regions`` says whether rows ``16k .. 16k+15`` are
        4 x 4 patches.
    thumbnail, picture : JPEG to write, the slide or a plain canvas; the same with its patches.

    Raises
    ------
    SlideError
        Kinds ``no_features``, ``no_coords``, ``unreadable``, ``damaged``, ``no_scale``.
    """
    if not files:
        raise SlideError(
            "no_features",
            f"{looked_for(slide_id, slide)} in features.import ({Path(folder).name}); extract them "
            "there, or leave the slide out (exclude).",
        )
    rows = LAYOUTS[layout].read(files)
    scan = scan_slide(slide, mpp)
    placed = _place(rows, scan)
    bounds = scan.bounds if scan.overview is not None and placed.on_slide else placed.bounds
    remarks = [rows.remark, scan.remark, *_remarks(placed, scan)]
    write_h5(
        features,
        Outcome(slide_id, "import_features"),
        {"features": rows.features, "coords": placed.coords},
        {
            **_known(rows, placed, scan),
            "bounds": np.array(bounds, np.int64),
            "encoder": encoder,
            "weights": rows.extractor or NOT_SAID,
            "weights_sha256": NOT_SAID,
            "licence": NOT_SAID,
            "precision": str(rows.features.dtype),
            "layout": layout,
            "source": rows.source,
            "source_sha256": sha256_file(files.get("h5") or files["pt"]),
            "regions": are_regions(placed.coords, placed.footprint0),
            "look": " ".join(filter(None, remarks)),
            "sha256": sha256_arrays(rows.features, placed.coords),
        },
    )
    overview = scan.overview if placed.on_slide else None
    draw_places(overview, placed.coords, placed.footprint0, bounds, thumbnail, picture)
    log.info("%d x %d from %s", *rows.features.shape, rows.source)


@dataclass(frozen=True, eq=False)
class Placed:
    """Where patches lie, in level-0 pixels.

    Parameters
    ----------
    coords : ``[N, 2]`` int64.
    footprint0 : side of a patch.
    mpp0, mpp_source : um per level-0 pixel and where it comes from; None where unknown.
    bounds : x, y, width, height of what the patches cover, or of the slide as the file says.
    on_slide : whether these are pixels of the slide's own file.
    """

    coords: np.ndarray
    footprint0: float
    mpp0: float | None
    mpp_source: str
    bounds: tuple[int, int, int, int]
    on_slide: bool


def _place(rows: ImportedRows, scan: Scan) -> Placed:
    mpp0, source = scan.mpp0, scan.mpp_source
    if mpp0 is None and rows.mpp0:
        mpp0, source = rows.mpp0, "file of features"
    if mpp0 is None and rows.magnification0:
        mpp0, source = 10 / rows.magnification0, "objective power"
    in_pixels, per_unit = True, 1.0
    if rows.unit == "um" and mpp0:
        per_unit = 1 / mpp0
    elif rows.unit == "um":  # one pixel is then one um: distances and pictures stay right
        in_pixels, mpp0, source = False, 1.0, UM
    coords = np.rint(rows.coords * per_unit).astype(np.int64)
    footprint0 = float(rows.footprint * per_unit)
    low, high = coords.min(axis=0), np.ceil(coords.max(axis=0) + footprint0).astype(int)
    bounds = (0, 0, *rows.size0) if rows.size0 else (*low.tolist(), *(high - low).tolist())
    return Placed(coords, footprint0, mpp0, source, bounds, in_pixels)


def _known(rows: ImportedRows, placed: Placed, scan: Scan) -> dict[str, object]:
    """Return the attributes of the scale and of the patches; what nobody says is left out."""
    size0 = scan.size0 or rows.size0
    return {
        "footprint0": placed.footprint0,
        "footprint_source": "file" if rows.footprint_said else "step of the grid",
        **({"size": rows.patch_size} if rows.patch_size else {}),
        **({"mpp0": placed.mpp0, "mpp_source": placed.mpp_source} if placed.mpp0 else {}),
        **({"width0": size0[0], "height0": size0[1]} if size0 else {}),
    }


def _remarks(placed: Placed, scan: Scan) -> list[str]:
    """Return what a person should look at."""
    n = len(placed.coords)
    found = []
    if copies := n - len(np.unique(placed.coords, axis=0)):
        found.append(f"{copies} of {n} patches lie where another one does.")
    if placed.on_slide and scan.size0:
        outside = int((placed.coords >= np.array(scan.size0)).any(axis=1).sum())
        if outside:
            found.append(
                f"{outside} of {n} patches lie outside the slide ({scan.size0[0]} x "
                f"{scan.size0[1]} pixels); are they this slide's, and is its mpp right?"
            )
    return found
