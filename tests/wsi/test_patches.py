import json

import h5py
import numpy as np
import pytest

from tests.wsi.stage_runs import BY_MPP, PATCHES, SIZE, ring
from wsi.coordinate_grid import are_regions
from wsi.grid import children, lay
from wsi.patches import make_patches
from wsi.storage import Outcome, read_h5, read_outcome, sha256_file
from wsi.tissue_area import AreaOf


def test_patches_of_a_rectangle_worked_out_by_hand(run, files):
    # 1024-px patches: columns at 1024 and 2048, rows at 1024 and 2048; 3072 is reached, not entered
    assert run([[ring(1024, 1024, 3072, 3072)]]).ok
    (coarse, _), (fine, _) = files()
    expected = [[1024, 1024], [1024, 2048], [2048, 1024], [2048, 2048]]  # x slow, y fast
    np.testing.assert_array_equal(coarse["coords"], expected)
    np.testing.assert_allclose(coarse["tissue_fraction"], 1)
    assert fine["coords"].dtype == coarse["coords"].dtype == np.int64
    first = [[1024 + i * 256, 1024 + j * 256] for j in range(4) for i in range(4)]
    np.testing.assert_array_equal(fine["coords"][:16], first)
    np.testing.assert_array_equal(fine["coords"][::16], expected)


def test_children_equal_the_example_of_the_specification():
    # advmil 1.4: downsamples 16 and 4, 256 px, one patch at (4096, 8192)
    found = children(np.array([[4096, 8192], [0, 0]]), 1024)
    assert found.dtype == np.int64
    assert found[:5].tolist() == [
        *([4096, 8192], [5120, 8192], [6144, 8192], [7168, 8192], [4096, 9216])
    ]
    assert found[15].tolist() == [7168, 11264]
    assert found[16].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("mpp0", "downsamples", "fine"),
    [(0.25, (4, 16), 256), (0.25, (), 256), (0.2325, (2, 4), 275), (0.25, (3.985, 15.9), 255)],
)
def test_children_tile_their_parents_exactly_once(run, files, mpp0, downsamples, fine):
    assert run([[ring(500, 300, 3300, 3500)]], mpp0=mpp0, downsamples=downsamples).ok
    (coarse, coarse_attributes), (small, small_attributes) = files()
    assert small_attributes["footprint0"] == fine
    assert coarse_attributes["footprint0"] == 4 * fine
    assert len(small["coords"]) == 16 * len(coarse["coords"])
    covered = np.zeros((6000, 7000), np.uint8)
    for x, y in small["coords"]:
        covered[y : y + fine, x : x + fine] += 1
    for x, y in coarse["coords"]:
        parent = covered[y : y + 4 * fine, x : x + 4 * fine]
        assert (parent == 1).all()
        parent[:] = 0
    assert not covered.any()
    for block, (x, y) in zip(small["coords"].reshape(-1, 16, 2), coarse["coords"], strict=True):
        assert ((block >= (x, y)) & (block <= (x + 3 * fine, y + 3 * fine))).all()


@pytest.mark.parametrize(("share", "kept"), [(0.30, True), (0.20, False)])
def test_a_patch_stays_when_its_tissue_reaches_the_least_fraction(run, share, kept):
    outcome = run([[ring(2048 - round(share * 1024), 1024, 2048, 2048)]], min_tissue=0.25)
    assert outcome.ok == kept


def test_a_patch_at_the_least_fraction_exactly_stays(run, files):
    piece = [[ring(1500, 1024, 2048, 2048)]]
    run(piece)
    (coarse, _), _ = files()
    (fraction,) = coarse["tissue_fraction"].astype(float)
    assert fraction == pytest.approx(548 / 1024, abs=1 / 32)
    assert run(piece, min_tissue=fraction).ok
    assert not run(piece, min_tissue=np.nextafter(np.float32(fraction), np.float32(1))).ok


def test_fractions_of_children_add_up_to_their_parents(run, files):
    run([[ring(600, 300, 3300, 3500), ring(1300, 1300, 2500, 2000)]])
    (coarse, _), (fine, _) = files()
    means = fine["tissue_fraction"].reshape(-1, 16).mean(axis=1)
    np.testing.assert_allclose(means, coarse["tissue_fraction"], atol=1e-6)
    assert (fine["tissue_fraction"] == 0).any()  # kept, though empty


def test_holes_do_not_count_and_tissue_in_a_hole_does():
    pieces = [
        [np.array(ring(0, 0, 4096, 4096), float), np.array(ring(1024, 1024, 3072, 3072), float)],
        [np.array(ring(1536, 1536, 2560, 2560), float)],
    ]
    area = AreaOf(pieces, 4096, 4096, 32)
    found = area.fraction(np.array([[0, 0], [1056, 1056], [1600, 1600]]), 400)
    np.testing.assert_allclose(found, [1, 0, 1], atol=0.01)
    whole = area.fraction(np.array([[0, 0]]), 4096)
    assert whole == pytest.approx(1 - 0.25 + 0.0625, abs=0.02)


def test_patches_over_the_right_and_lower_edge_stay_with_all_their_children(run, files):
    assert run([[ring(0, 0, 5000, 3900)]], width=5000, height=3900).ok
    (coarse, _), (fine, _) = files()
    expected = [[x, y] for x in range(0, 5000, 1024) for y in range(0, 3900, 1024)]
    np.testing.assert_array_equal(coarse["coords"], expected)
    assert len(fine["coords"]) == 16 * 20
    corner = (5000 - 4096) * (3900 - 3072) / 1024**2
    assert coarse["tissue_fraction"][-1] == pytest.approx(corner, abs=0.02)
    outside = (fine["coords"] >= (5000, 3900)).any(axis=1)
    np.testing.assert_array_equal(fine["tissue_fraction"][outside], 0)


def test_the_grid_starts_at_the_corner_of_the_scanned_area():
    def corners(*bounds, **changed):
        nothing = AreaOf([], 4096, 4096, 32)
        settings = PATCHES | {"min_tissue": 0} | changed
        return lay(
            [], nothing, 1024, settings, dimensions=(4096, 4096), bounds=bounds, clam_level=None
        ).tolist()

    assert corners(100, 50, 2000, 1000) == [[100, 50], [1124, 50]]
    assert len(corners(0, 0, 2048, 2049)) == 2 * 3
    # patches of 64 with a step of 96: a gap of half a patch
    assert corners(0, 0, 2048, 1024, step=96) == [[0, 0], [1536, 0]]
    assert corners(2048, 0, 2048, 4096, padding=False)[-1] == [3072, 3072]
    assert corners(2500, 0, 1596, 1024, padding=False) == [[2500, 0]]  # 3524 + 1024 > 4096


def test_the_attributes_of_clam_are_on_the_coordinates(run, tmp_path):
    run([[ring(1024, 1024, 3072, 3072)]])
    for name, level, downsample, dimensions in (
        ("level2.h5", 2, 16.0, (320, 256)),
        ("level1.h5", 1, 4.0, (1280, 1024)),
    ):
        with h5py.File(tmp_path / name) as file:
            attributes = dict(file["coords"].attrs)
        assert attributes["patch_size"] == SIZE
        assert attributes["patch_level"] == level
        np.testing.assert_array_equal(attributes["downsample"], [downsample] * 2)
        assert attributes["downsample"].dtype == np.float64
        for key in ("level_dim", "downsampled_level_dim"):
            np.testing.assert_array_equal(attributes[key], dimensions)
            assert attributes[key].dtype == np.int64
        assert attributes["name"] == "S1"
        assert isinstance(attributes["save_path"], str)


def test_a_reader_of_clam_files_reads_the_right_place(run, tmp_path):
    """patch_size counts pixels of patch_level: together they must give the footprint."""
    run([[ring(500, 300, 3300, 3500)]], mpp0=0.5, downsamples=(4,))
    for name, footprint in (("level2.h5", 512), ("level1.h5", 128)):
        _, attributes = read_h5(tmp_path / name)
        side = attributes["patch_size"] * attributes["downsample"]
        np.testing.assert_allclose(side, footprint, rtol=0.01)
        assert attributes["footprint0"] == footprint
        assert attributes["size"] == SIZE


def test_too_little_tissue_is_an_outcome_that_says_how_little(run, tmp_path):
    outcome = run([[ring(1024, 1024, 1152, 2048)]])  # an eighth of one patch
    assert (outcome.kind, outcome.stage) == ("no_tissue", "make_patches")
    assert outcome.reason.startswith("slide S1: no patch of 1024 px has 25% tissue (the most is 1")
    for name in ("level2.h5", "level1.h5"):
        assert read_outcome(tmp_path / name) == outcome
        assert len(read_h5(tmp_path / name)[0]["coords"]) == 0


def test_a_scan_that_is_too_coarse_is_an_outcome(run, tmp_path):
    outcome = run([[ring(0, 0, 4096, 4096)]], mpp0=1.5)
    assert outcome.kind == "no_scale"
    assert "the scan is too coarse: 1.5 um/px" in outcome.reason
    assert read_outcome(tmp_path / "level1.h5") == outcome


def test_levels_asked_for_by_number(run, files):
    scale = {"by": "level", "coarse": 2, "fine": 1}
    assert run([[ring(1024, 1024, 3072, 3072)]], scale=scale).ok
    (_, coarse), (_, fine) = files()
    assert (coarse["patch_level"], fine["patch_level"]) == (2, 1)
    assert run([[ring(0, 0, 3072, 3072)]], scale=scale, downsamples=(4,)).kind == "no_scale"


def test_a_failed_slide_passes_its_outcome_on_without_being_opened(tmp_path):
    failed = Outcome("S1", "find_tissue", "failed", "slide S1: cannot be opened.", "unreadable")
    (tmp_path / "S1.geojson").write_text(json.dumps({"features": [], "outcome": vars(failed)}))
    outcome = make_patches(
        slide_id="S1",
        slide=str(tmp_path / "missing.svs"),
        tissue=str(tmp_path / "S1.geojson"),
        thumbnail=str(tmp_path / "S1.jpg"),
        level2=str(tmp_path / "level2.h5"),
        level1=str(tmp_path / "level1.h5"),
        picture=str(tmp_path / "grid.jpg"),
        scale=BY_MPP,
        patches=PATCHES,
    )
    assert outcome == failed
    assert read_outcome(tmp_path / "level2.h5") == failed
    assert read_outcome(tmp_path / "level1.h5") == failed


def test_the_same_tissue_gives_the_same_bytes(run, tmp_path):
    files = tmp_path / "level2.h5", tmp_path / "level1.h5"
    run([[ring(1024, 1024, 3072, 3072)]])
    first = [sha256_file(path) for path in files]
    run([[ring(1024, 1024, 3072, 3072)]])
    assert [sha256_file(path) for path in files] == first


@pytest.mark.parametrize("given", [False, True])
def test_legacy_offsets_cover_what_the_specification_says(run, files, tmp_path, given):
    """Advmil 1.4: at level 2 -> level 1 the sixteen cover 1792 x 1792 of 4096 x 4096."""
    whole = [[ring(0, 0, 4096, 4096)]]
    settings = {"width": 4096, "height": 4096, "size": 256}
    if given:  # as one reads CLAM's coordinates again
        run(whole, **settings)
        (tmp_path / "level2.h5").rename(tmp_path / "clam.h5")
        settings["given"] = tmp_path / "clam.h5"
    assert run(whole, legacy_offsets=True, **settings).ok
    (coarse, coarse_attributes), (fine, attributes) = files()
    assert coarse["coords"].tolist() == [[0, 0]]
    assert coarse_attributes["footprint0"] == 4096
    assert attributes["legacy_offsets"]
    assert coarse_attributes["legacy_offsets"]
    assert fine["coords"].tolist() == [[256 * i, 256 * j] for j in range(4) for i in range(4)]
    assert attributes["footprint0"] == 1024
    covered = np.zeros((4096, 4096), np.uint8)
    for x, y in fine["coords"]:
        covered[y : y + 1024, x : x + 1024] += 1
    assert (covered > 0).sum() == 1792**2
    assert (covered[:1792, :1792] > 0).all()
    assert covered.max() == 16
    assert are_regions(fine["coords"], attributes["footprint0"])


def test_at_level_0_legacy_offsets_are_the_right_ones(run, files):
    settings = {"mpp0": 1.0, "width": 1024, "height": 1024, "downsamples": (4,), "size": 64}
    run([[ring(0, 0, 1024, 1024)]], **settings)
    _, (right, attributes) = files()
    assert not attributes["legacy_offsets"]
    run([[ring(0, 0, 1024, 1024)]], legacy_offsets=True, **settings)
    _, (legacy, _) = files()
    assert sorted(right) == sorted(legacy)
    np.testing.assert_array_equal(right["coords"], legacy["coords"])
    for name in ("tissue_fraction", "saturation", "density", "dark"):
        np.testing.assert_allclose(right[name], legacy[name], rtol=1e-3, err_msg=name)
