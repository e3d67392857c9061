"""Regions that somebody annotated on a slide, and which patches lie in them."""

import json
from collections.abc import Sequence

import cv2
import numpy as np

from wsi.given_tissue import read_pieces
from wsi.outcome import SlideError, slide_stage
from wsi.outlines import Pieces
from wsi.storage import MADE_BY, Outcome, atomic, read_features, save_npz

PIXELS = 32  # of a patch's side, in which its annotated share is counted
LARGEST = 16_384  # pixels: longest side of the picture that they are counted in
ANNOTATED = "Annotated"
MEND = "mend it, or leave column annotations of slides.csv empty"


@slide_stage(writes=("outlines", "labels"), after="features")
def read_annotations(
    *, slide_id: str, features: str, given: str, outlines: str, labels: str
) -> None:
    """Read the annotated regions of one slide and label its patches by them.

    A patch is positive if more than half of it is annotated, as in CAMELYON16's patch labels.

    Parameters
    ----------
    slide_id : whose they are.
    features : the slide's feature file: where its patches lie.
    given : the user's file, a mask picture or GeoJSON as for tissue
        (:func:`wsi.given_tissue.read_pieces`). A slide without any region is negative throughout.
    outlines : GeoJSON to write, level-0 pixels from the corner of what was scanned.
    labels : npz to write, ``label`` [N] int8, 1 or 0, rows as in the feature file.

    Raises
    ------
    SlideError
        Kind ``no_annotations``: the file cannot be used.
    """
    _, coords, attributes = read_features(features)
    bounds = tuple(int(value) for value in attributes["bounds"])
    dimensions = int(attributes["width0"]), int(attributes["height0"])
    try:
        pieces = read_pieces(given, dimensions, bounds, "regions", MEND)
    except SlideError as error:
        raise SlideError("no_annotations", str(error)) from error
    share = annotated_share(pieces, coords, float(attributes["footprint0"]))
    outcome = Outcome(slide_id, "read_annotations")
    save_npz(labels, outcome, label=(share > 0.5).astype(np.int8))
    content = {
        "type": "FeatureCollection",
        "features": [_feature(piece, bounds[:2]) for piece in pieces],
        "outcome": vars(outcome),
        "slide": MADE_BY,
    }
    with atomic(outlines) as partial:
        partial.write_text(json.dumps(content, sort_keys=True) + "\n")


def annotated_share(pieces: Pieces, coords: np.ndarray, footprint: float) -> np.ndarray:
    """Return the share [N] of each patch that lies in a region, to a few hundredths.

    Parameters
    ----------
    pieces : outline and holes of each region, level-0 pixels.
    coords : [N, 2] top-left corners.
    footprint : side of a patch.
    """
    if not len(coords):
        return np.zeros(0)
    corner = coords.min(axis=0)
    extent = coords.max(axis=0) + footprint - corner
    scale = min(PIXELS / footprint, LARGEST / extent.max())
    width, height = (int(np.ceil(side)) for side in extent * scale)
    inside = np.zeros((height, width), np.uint8)
    for outline, *holes in pieces:
        region = np.zeros_like(inside) if holes else inside
        cv2.fillPoly(region, [_points(outline, corner, scale)], 1)
        for hole in holes:
            cv2.fillPoly(region, [_points(hole, corner, scale)], 0)
        inside |= region
    sums = cv2.integral(inside)  # [height + 1, width + 1]
    low = np.rint((coords - corner) * scale).astype(int)
    high = np.maximum(low + 1, np.rint((coords - corner + footprint) * scale).astype(int))
    (x0, y0), (x1, y1) = low.T, np.minimum(high, [width, height]).T
    counted = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return counted / ((x1 - x0) * (y1 - y0))


def _points(ring: np.ndarray, corner: np.ndarray, scale: float) -> np.ndarray:
    return np.rint((ring - corner) * scale - 0.5).astype(np.int32)  # of the pixels' middles


def _feature(piece: Sequence[np.ndarray], corner: Sequence[int]) -> dict:
    rings = [np.rint(ring - np.array(corner)).astype(int).tolist() for ring in piece]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]},
        "properties": {"objectType": "annotation", "classification": {"name": ANNOTATED}},
    }
