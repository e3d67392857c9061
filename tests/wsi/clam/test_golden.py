"""Count, order and values of CLAM's own coordinates: 744 combinations on 31 slides."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from wsi.clam.grid import contour_grid, footprint
from wsi.clam.segmentation import (
    PRESETS,
    ClamParameters,
    borders,
    choose_level,
    pieces_of_mask,
    segment,
    tissue_mask,
)
from wsi.reader import Slide

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/clam"
SUMMARY = json.loads(path.read_text()) if (path := GOLDEN / "summary.json").exists() else {}

ALL = {"a_t": 0, "a_h": 0, "max_n_holes": 100}
SETS = {
    "default": PRESETS["clam"],
    "bwh_biopsy": PRESETS["bwh_biopsy"],
    "bwh_resection": PRESETS["bwh_resection"],
    "tcga": PRESETS["tcga"],
    "small": ClamParameters(a_t=1, a_h=1),
    "frac": ClamParameters(a_t=0.25, a_h=0.015625),
    "all": ClamParameters(**ALL),
    "holes3": ClamParameters(a_t=0, a_h=0, max_n_holes=3),
    "otsu": ClamParameters(use_otsu=True, a_t=1, a_h=1),
    "raw": ClamParameters(sthresh=15, mthresh=3, close=0, a_t=0, a_h=0),
    "keep": ClamParameters(**ALL, keep_ids=(0, 2)),
    "keep_unsorted": ClamParameters(**ALL, keep_ids=(2, 9, 1, 0, 8), exclude_ids=(1,)),
    "exclude": ClamParameters(**ALL, exclude_ids=(0, 3)),
    "edge_eq": ClamParameters(a_t=18.8818359375),
    "edge_below": ClamParameters(a_t=18.881591796875),
    "edge_hole": ClamParameters(a_t=0, a_h=4.11767578125),
}
KEY = re.compile(
    r"(?P<set>\w+)-level(?P<level>\d)-(?P<rule>basic|center|four_pt|four_pt_hard)"
    r"-(?P<edge>pad|nopad)-step(?P<step>\d+)(-patch(?P<patch>\d+))?"
)

pytestmark = pytest.mark.skipif(not SUMMARY, reason="needs ../shared/spec/golden/clam")


def test_the_golden_folder_is_whole():
    """Every combination below is one of these, so none can be left out unseen."""
    keys = [(stem, key) for stem, slide in SUMMARY.items() for key in slide["coords"]]
    rows = [SUMMARY[stem]["coords"][key]["rows"] for stem, key in keys]
    assert (len(SUMMARY), len(keys), sum(r > 0 for r in rows), sum(rows)) == (31, 744, 561, 63_566)


@pytest.mark.parametrize("stem", [stem for stem in SUMMARY if stem.startswith("syn_")])
def test_painted_slide(stem, painted_slide, golden):
    masks = compare(painted_slide(stem), stem)
    with np.load(golden / f"{stem}.masks.npz") as expected:
        assert set(expected.files) == set(masks)
        for name, mask in masks.items():
            np.testing.assert_array_equal(np.packbits(mask.ravel() > 0), expected[name])


@pytest.mark.realdata
@pytest.mark.parametrize("stem", [stem for stem in SUMMARY if not stem.startswith("syn_")])
def test_real_slide(stem, real_slides):
    name = SUMMARY[stem]["file"]
    folder = "native" if (real_slides / "native" / name).exists() else "monuseg_padded"
    path = real_slides / folder / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SUMMARY[stem]["file_sha256"]
    compare(path, stem)


def compare(path: Path, stem: str) -> dict[str, np.ndarray]:
    """Compare one slide in everything that is stored; return the mask of each parameter set."""
    summary = SUMMARY[stem]
    with Slide(path) as slide:
        dimensions, level_dimensions = slide.dimensions, slide.level_dimensions
        level = choose_level(level_dimensions)
        rgb, unreadable = slide.read(0, 0, level, *level_dimensions[level])
        true_ratios = [list(slide.downsample(i)) for i in range(len(level_dimensions))]
    assert unreadable == 0
    assert [list(size) for size in level_dimensions] == summary["levels"]
    assert true_ratios == summary["downsamples"]
    pieces, masks = {}, {}
    for name, expected in summary["segmentation"].items():
        assert level == expected["seg_level"]
        masks[name] = tissue_mask(rgb, SETS[name])
        assert hashlib.sha256(masks[name]).hexdigest() == expected["mask_sha256"], name
        assert np.count_nonzero(masks[name]) == expected["mask_pixels"]
        found = sum(1 + len(holes) for _, holes in borders(masks[name]))
        assert found == expected["borders_found"]
        if expected["error"]:
            assert expected["error"] == "IndexError"
            with pytest.raises(ValueError, match="keep_ids names piece"):
                segment(rgb, dimensions, SETS[name])
            continue
        pieces[name] = pieces_of_mask(masks[name], dimensions, SETS[name])
        assert_pieces(pieces[name], expected)
    compared = 0
    with np.load(GOLDEN / f"{stem}.npz") as arrays:
        assert set(arrays.files) == set(summary["coords"])
        for key in arrays.files:
            coords, expected = coordinates(key, pieces, level_dimensions), arrays[key]
            assert coords.dtype == expected.dtype == np.int64
            np.testing.assert_array_equal(coords, expected, err_msg=f"{stem} {key}")
            described = {"rows": len(coords), "sha256": hashlib.sha256(coords).hexdigest()}
            assert described == summary["coords"][key]
            compared += 1
    assert compared == len(summary["coords"]) > 0
    return masks


def assert_pieces(pieces, expected):
    assert len(pieces) == expected["pieces"]
    assert [len(holes) for _, *holes in pieces] == expected["holes"]
    assert [len(outline) for outline, *_ in pieces] == expected["points"]
    corners = [(ring.min(axis=0), ring.max(axis=0)) for ring, *_ in pieces]
    boxes = [[*low.tolist(), *(high - low + 1).tolist()] for low, high in corners]
    assert boxes == expected["boxes"]


def coordinates(key, pieces, level_dimensions):
    setting = KEY.fullmatch(key)
    level = int(setting["level"])
    return contour_grid(
        pieces[setting["set"]],
        level_dimensions[0],
        footprint(level_dimensions, level, int(setting["patch"] or 256)),
        footprint(level_dimensions, level, int(setting["step"])),
        setting["rule"],
        setting["edge"] == "pad",
    )
