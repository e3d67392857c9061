"""Laying patches: coarse patches on tissue, and their 4 x 4 fine children."""

from collections.abc import Mapping

import cv2
import numpy as np

from wsi.outcome import SlideError, slide_stage
from wsi.outlines import MASK_MPP, read_tissue
from wsi.reader import Slide
from wsi.scale import RATIO, ReadPlan, plan_fine
from wsi.storage import Outcome, write_h5


@slide_stage(writes=("level2", "level1"), after="tissue")
def make_patches(
    *,
    slide_id: str,
    slide: str,
    tissue: str,
    level2: str,
    level1: str,
    scale: Mapping[str, object],
    size: int,
    min_tissue: float,
) -> None:
    """Lay one grid of coarse patches over a slide and split each into 16 fine ones.

    The grid is anchored at the corner of the scanned area and aligned to the footprint, so that
    patches never overlap. A coarse patch stays when its tissue fraction reaches `min_tissue`.
    Its children are rows ``16k..16k+15`` of the fine file, y outer and x inner, all of them
    always: models average every 16 rows (specification wsi 5.1, advmil 1.4).

    Parameters
    ----------
    slide_id, slide, tissue : name of the slide, its file, and its GeoJSON of tissue.
    level2, level1 : HDF5 files to write, CLAM's layout: ``coords`` ``[N, 2]`` int64, top-left
        corners in level-0 pixels, with ``tissue_fraction`` ``[N]`` beside them.
    scale : ``by``, ``coarse`` and ``fine`` (um/px, downsample, or level).
    size : side of a patch in pixels.
    min_tissue : least tissue fraction of a coarse patch, 0-1.

    Raises
    ------
    SlideError
        Kinds ``no_scale`` and ``no_tissue``.
    """
    pieces, facts = read_tissue(tissue)
    mpp0 = float(facts["mpp0"])
    with Slide(slide) as opened:
        fine = plan_fine(opened, scale, mpp0, size)
        bounds, level_dimensions = opened.bounds, opened.level_dimensions
        coarse_level = opened.best_level(fine.footprint * RATIO / size)
        downsamples = [opened.downsample(level) for level in range(len(level_dimensions))]
    footprint = fine.footprint * RATIO
    coarse_read = round(footprint / (sum(downsamples[coarse_level]) / 2))
    coarse = ReadPlan(coarse_level, coarse_read, size, footprint)
    area = TissueArea(pieces, int(facts["width0"]), int(facts["height0"]), MASK_MPP / mpp0)
    coords = grid(bounds, footprint)
    fraction = area.fraction(coords, footprint)
    keep = fraction >= min_tissue
    if not keep.any():
        raise SlideError(
            "no_tissue",
            f"no patch of {footprint} px has {min_tissue:.0%} tissue (the most is "
            f"{fraction.max(initial=0):.0%}); lower patches: min_tissue, or leave the slide out.",
        )
    coords, fraction = coords[keep], fraction[keep]
    child_coords = children(coords, fine.footprint)
    shared = {
        "mpp0": mpp0,
        "mpp_source": facts["mpp_source"],
        "width0": facts["width0"],
        "height0": facts["height0"],
        "size": size,
        "scale_by": scale["by"],
        "min_tissue": min_tissue,
    }
    outcome = Outcome(slide_id, "make_patches")
    for path, plan, where, share, target in (
        (level2, coarse, coords, fraction, scale["coarse"]),
        (level1, fine, child_coords, area.fraction(child_coords, fine.footprint), scale["fine"]),
    ):
        write_h5(
            path,
            outcome,
            {"coords": where, "tissue_fraction": share},
            {**shared, "target": target, "footprint0": plan.footprint, "read_size": plan.read_size},
            {
                # CLAM's names; patch_size counts pixels of patch_level, whatever is encoded later
                "patch_size": plan.read_size,
                "patch_level": plan.level,
                "downsample": np.array(downsamples[plan.level]),
                "level_dim": np.array(level_dimensions[plan.level], np.int64),
                "downsampled_level_dim": np.array(level_dimensions[plan.level], np.int64),
                "name": slide_id,
                "save_path": "patches",
            },
        )


def grid(bounds: tuple[int, int, int, int], footprint: int) -> np.ndarray:
    """Return the corners of a grid that covers `bounds` (x, y, width, height), x slow, y fast.

    The last column and row may hang over the edge: what lies outside is read as background.
    """
    x0, y0, width, height = bounds
    xs = np.arange(x0, x0 + width, footprint, dtype=np.int64)
    ys = np.arange(y0, y0 + height, footprint, dtype=np.int64)
    return np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1).reshape(-1, 2)


def children(coords: np.ndarray, footprint: int) -> np.ndarray:
    """Return the 16 children of each coarse patch.

    Parameters
    ----------
    coords : ``[M, 2]`` corners of coarse patches, level-0 pixels.
    footprint : side of a child in level-0 pixels.

    Returns
    -------
    ``[16 M, 2]`` int64; in each block of 16 rows y is the outer and x the inner index.
    """
    steps = np.arange(RATIO, dtype=np.int64) * footprint
    offsets = np.stack(np.meshgrid(steps, steps, indexing="xy"), axis=-1).reshape(-1, 2)
    return (coords[:, None, :] + offsets[None]).reshape(-1, 2).astype(np.int64)


class TissueArea:
    """Tissue fraction of any square, from one integral image of the mask.

    Parameters
    ----------
    pieces : outline and holes of each piece, level-0 pixels.
    width, height : of the slide, level-0 pixels.
    downsample : level-0 pixels per mask pixel.
    """

    def __init__(self, pieces: list[list[np.ndarray]], width: int, height: int, downsample: float):
        self.shape = max(1, round(height / downsample)), max(1, round(width / downsample))
        self.factor = self.shape[1] / width, self.shape[0] / height
        mask = np.zeros(self.shape, np.uint8)
        shift = 4  # OpenCV's fixed-point bits; pixel centres lie at whole numbers there
        rings = [
            np.rint((ring * self.factor - 0.5) * 2**shift).astype(np.int32)
            for piece in pieces
            for ring in piece
        ]
        cv2.fillPoly(mask, rings, 1, shift=shift)  # one call: even-odd, so tissue in holes counts
        self.integral = cv2.integral(mask, sdepth=cv2.CV_64F)

    def fraction(self, coords: np.ndarray, side: int) -> np.ndarray:
        """Return the tissue fraction ``[N]`` float32 of squares at `coords` with `side` pixels."""
        (x, y), (height, width) = coords.T, self.shape
        left = np.rint(x * self.factor[0]).astype(int)
        top = np.rint(y * self.factor[1]).astype(int)
        right = np.maximum(left + 1, np.rint((x + side) * self.factor[0]).astype(int))
        bottom = np.maximum(top + 1, np.rint((y + side) * self.factor[1]).astype(int))
        area = (right - left) * (bottom - top)
        left, right = left.clip(0, width), right.clip(0, width)
        top, bottom = top.clip(0, height), bottom.clip(0, height)
        table = self.integral
        inside = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        return (inside / area).astype(np.float32)
