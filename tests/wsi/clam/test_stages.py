"""CLAM's own coordinates through our stages: GeoJSON between them, parameters as a user has them.

Every golden key is compared whose patch level has another one just four times finer, so that
patches may be laid by level (``scale: {by: level}``); the others have no children.
"""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.wsi.stage_runs import run_stages, settings_of
from wsi.clam.segmentation import PRESETS
from wsi.coordinate_files import write_clam_coordinates
from wsi.patches import make_patches
from wsi.reader import Slide
from wsi.storage import read_h5
from wsi.tissue import find_tissue

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/clam"
SUMMARY = json.loads(path.read_text()) if (path := GOLDEN / "summary.json").exists() else {}

ALL = {"a_t": 0, "a_h": 0, "max_n_holes": 100}
SETS = {
    "default": {"preset": "clam"},
    **{name: {"preset": name} for name in PRESETS if name != "clam"},
    "small": {"a_t": 1, "a_h": 1},
    "frac": {"a_t": 0.25, "a_h": 0.015625},
    "all": ALL,
    "holes3": {"a_t": 0, "a_h": 0, "max_n_holes": 3},
    "otsu": {"use_otsu": True, "a_t": 1, "a_h": 1},
    "raw": {"sthresh": 15, "mthresh": 3, "close": 0, "a_t": 0, "a_h": 0},
    "keep": {**ALL, "keep_ids": [0, 2]},
    "keep_unsorted": {**ALL, "keep_ids": [2, 9, 1, 0, 8], "exclude_ids": [1]},
    "exclude": {**ALL, "exclude_ids": [0, 3]},
    "edge_eq": {"a_t": 18.8818359375},
    "edge_below": {"a_t": 18.881591796875},
    "edge_hole": {"a_t": 0, "a_h": 4.11767578125},
}
KEY = re.compile(
    r"(?P<set>\w+)-level(?P<level>\d)-(?P<rule>basic|center|four_pt|four_pt_hard)"
    r"-(?P<edge>pad|nopad)-step(?P<step>\d+)(-patch(?P<patch>\d+))?"
)
# stem -> how many keys have a level four times finer, and how many of these have rows
COMPARED = {"syn_a": (16, 13), "syn_b": (16, 16), "syn_c": (18, 15), "test3-TRITC-2-560": (3, 3)}
MONUSEG = (2, 1)  # each of the 24

pytestmark = pytest.mark.skipif(not SUMMARY, reason="needs ../shared/spec/golden/clam")


def finer(stem, level):
    """Return the level four times finer, or None."""
    downsamples = [sum(pair) / 2 for pair in SUMMARY[stem]["downsamples"]]
    ratios = [downsamples[level] / other for other in downsamples]
    return next((i for i, ratio in enumerate(ratios) if abs(ratio - 4) < 0.08), None)


def keys_of(stem):
    """Return the keys that can be laid by level, in groups of one segmentation."""
    groups = {}
    for key in SUMMARY[stem]["coords"]:
        setting = KEY.fullmatch(key)
        if finer(stem, int(setting["level"])) is not None:
            groups.setdefault(setting["set"], []).append(key)
    return groups


def compare(path, stem, folder):
    """Compare all keys of a slide; return how many, and how many had rows."""
    compared = with_rows = 0
    with np.load(GOLDEN / f"{stem}.npz") as arrays:
        for name, keys in keys_of(stem).items():
            find, _ = settings_of(
                path, folder, tissue={"preset": "clam", **SETS[name]}, scale={"by": "level"}
            )
            find_tissue(**find)
            for key in keys:
                assert_same(path, folder, stem, key, arrays[key])
                compared += 1
                with_rows += len(arrays[key]) > 0
    return compared, with_rows


def assert_same(path, folder, stem, key, expected):
    setting = KEY.fullmatch(key)
    level, size = int(setting["level"]), int(setting["patch"] or 256)
    _, lay = settings_of(
        path,
        folder,
        scale={"by": "level", "coarse": level, "fine": finer(stem, level)},
        size=size,
        step=int(setting["step"]),
        grid="contour",
        rule=setting["rule"],
        padding=setting["edge"] == "pad",
    )
    outcome = make_patches(**lay)
    (coarse, attributes), (fine, _) = read_h5(lay["level2"]), read_h5(lay["level1"])
    assert coarse["coords"].dtype == np.int64
    np.testing.assert_array_equal(coarse["coords"], expected, err_msg=f"{stem} {key}")
    assert len(fine["coords"]) == 16 * len(expected)
    assert (outcome.kind, outcome.ok) == (("", True) if len(expected) else ("no_tissue", False))
    if len(expected):
        assert (attributes["patch_level"], attributes["patch_size"]) == (level, size)
        np.testing.assert_array_equal(attributes["downsample"], SUMMARY[stem]["downsamples"][level])
        np.testing.assert_array_equal(fine["coords"][::16], expected)


@pytest.mark.parametrize("stem", ["syn_a", "syn_b", "syn_c"])
def test_painted_slides(stem, painted_slide, tmp_path):
    assert compare(painted_slide(stem), stem, tmp_path) == COMPARED[stem]


@pytest.mark.realdata
@pytest.mark.parametrize(
    "stem", [stem for stem in SUMMARY if not stem.startswith("syn_") and keys_of(stem)]
)
def test_real_slides(stem, real_slides, tmp_path):
    name = SUMMARY[stem]["file"]
    folder = "native" if (real_slides / "native" / name).exists() else "monuseg_padded"
    expected = COMPARED.get(stem, MONUSEG)
    assert compare(real_slides / folder / name, stem, tmp_path) == expected


def test_no_key_is_left_out_unseen():
    counts = {stem: sum(map(len, keys_of(stem).values())) for stem in SUMMARY}
    assert sum(counts.values()) == 50 + 3 + 24 * 2 == 101
    assert {stem: counts[stem] for stem in COMPARED} == {s: n for s, (n, _) in COMPARED.items()}
    # the rest is of level 0 or of a level that is twice as coarse as the next
    total = sum(len(slide["coords"]) for slide in SUMMARY.values())
    assert total == 744


# Coordinates made by others, in place of a grid

SPACING = {"scale": {"by": "level", "coarse": 1, "fine": 0}, "size": 256}


@pytest.fixture(scope="module")
def of_clam(painted_slide, golden, tmp_path_factory):
    """A slide and the file of coordinates that CLAM writes for it at level 1."""
    path = painted_slide("syn_b")
    with np.load(golden / "syn_b.npz") as arrays:
        coords = arrays["all-level1-four_pt-pad-step256"]
    with Slide(path) as slide:
        levels = slide.level_dimensions
    file = tmp_path_factory.mktemp("clam") / "syn_b.h5"
    write_clam_coordinates(
        file, coords, patch_size=256, patch_level=1, level_dimensions=levels, name="syn_b",
        save_path="patches",
    )  # fmt: skip
    return path, file, coords


def trident(folder, coords, **changed):
    attributes = {
        **{"patch_size": 256, "patch_size_level0": 1024, "level0_magnification": 40},
        **{"target_magnification": 10, "overlap": 0, "name": "syn_b"},
        **{"level0_width": 8191, "level0_height": 6143},
    }
    path = folder / "syn_b_patches.h5"
    with h5py.File(path, "w") as file:
        file["coords"] = coords
        file["coords"].attrs.update(attributes | changed)
    return path


def test_files_of_clam_and_trident_are_used_row_by_row(of_clam, tmp_path):
    slide, clam, coords = of_clam
    for name, given in (("clam", clam), ("trident", trident(tmp_path, coords))):
        results = run_stages(slide, tmp_path / name, given_patches=given, **SPACING)
        (coarse, attributes), (fine, _) = results.level(2), results.level(1)
        np.testing.assert_array_equal(coarse["coords"], coords)  # order, too
        assert len(fine["coords"]) == 16 * len(coords)
        np.testing.assert_array_equal(fine["coords"][::16], coords)
        assert attributes["given"] == str(given)
        assert attributes["footprint0"] == 1024
        # what is known of a patch beside its place is found out here
        assert 0 < coarse["tissue_fraction"].max() <= 1
        assert np.isfinite(coarse["density"]).all()


def test_our_own_file_given_back_gives_the_same_patches(of_clam, tmp_path):
    slide, _, _ = of_clam
    found = run_stages(slide, tmp_path / "found", min_tissue=0.4, **SPACING)
    own = tmp_path / "found/level2/S1.h5"
    given = run_stages(slide, tmp_path / "given", given_patches=own, **SPACING)
    for level in (2, 1):
        (before, _), (after, _) = found.level(level), given.level(level)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def refused(slide, folder, given, **settings):
    results = run_stages(slide, folder, given_patches=given, **SPACING | settings)
    assert results.found.ok
    assert len(results.coords) == len(results.level(1)[0]["coords"]) == 0
    return results.laid.kind, results.laid.reason.replace(str(given), "FILE")


def test_files_that_do_not_fit_are_refused_in_words(of_clam, tmp_path):
    slide, clam, coords = of_clam
    kind, reason = refused(slide, tmp_path, clam, size=128)
    assert kind == "no_scale"
    assert "FILE has patches of 1023.88 x 1023.83 level-0 pixels, but coarse patches are" in reason
    assert reason.endswith("choose scale and patches: size to match.")
    kind, reason = refused(slide, tmp_path, trident(tmp_path, coords, patch_size_level0=2048))
    assert (kind, "patches of 2048 x 2048" in reason) == ("no_scale", True)
    kind, reason = refused(slide, tmp_path, trident(tmp_path, coords, level0_width=4096))
    assert kind == "no_tissue"
    assert "is of a slide of 4096 x 6143 pixels, and this one has 8191 x 6143; corr" in reason
    (tmp_path / "empty.h5").write_bytes(b"")
    kind, reason = refused(slide, tmp_path, tmp_path / "empty.h5")
    assert (kind, "FILE: not an HDF5 file, or one that was cut off" in reason) == (
        *("no_tissue", True),
    )


def test_corners_beside_the_slide_are_refused_where_the_file_says_no_size(of_clam, tmp_path):
    slide, _, coords = of_clam
    other = trident(tmp_path, np.vstack([coords, [[8191, 0]]]), level0_width="", level0_height="")
    kind, reason = refused(slide, tmp_path, other)
    assert kind == "no_tissue"
    assert f"FILE: row {len(coords)} is at (8191, 0), outside the slide (8191 x 6143)" in reason
