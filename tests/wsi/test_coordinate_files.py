"""Coordinates made elsewhere: four layouts read as one, CLAM's written byte type by byte type."""

import h5py
import numpy as np
import pytest

from tests.wsi.stage_runs import blank_thumbnail, patch_drawn, ring, write_tissue
from wsi.coordinate_files import CoordinateFileError, read_coordinates, write_clam_coordinates
from wsi.outcome import write_failed
from wsi.storage import Outcome, write_h5

COORDS = np.array([[0, 0], [0, 1024], [7168, 5120]])
LEVELS = [(8192, 6143), (2048, 1536), (512, 384)]
CLAM = {"patch_size": 256, "downsample": [4.0, 6143 / 1536], "level_dim": [2048, 1536]}
TRIDENT = {
    "patch_size": 512,
    "patch_size_level0": 1024,
    "level0_magnification": 40,
    "target_magnification": 20,
    "overlap": 0,
    "name": "S1",
    "savetodir": "out",
    "level0_width": 8192,
    "level0_height": 6143,
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file with attributes on the dataset (or on the root)."""

    def write(coords=COORDS, attributes=None, root=None, name="S1.h5", dataset="coords"):
        with h5py.File(tmp_path / name, "w") as file:
            file[dataset] = coords
            file[dataset].attrs.update(attributes or {})
            file.attrs.update(root or {})
        return tmp_path / name

    return write


def test_clam(write):
    found = read_coordinates(write(attributes={**CLAM, "name": "slide.1"}))
    np.testing.assert_array_equal(found.coords, COORDS)
    assert found.coords.dtype == np.int64
    assert found.footprint0 == (1024.0, 256 * 6143 / 1536)
    assert (found.layout, found.name, found.patch_size) == ("clam", "slide.1", 256)
    assert found.size0 == (8192, 6143)
    assert found.mpp0 is None


@pytest.mark.parametrize("place", ["attributes", "root"])
def test_trident(write, place):
    found = read_coordinates(write(**{place: TRIDENT}))
    assert found.footprint0 == (1024, 1024)
    assert (found.layout, found.patch_size, found.magnification0) == ("trident", 512, 40)
    assert found.size0 == (8192, 6143)


def test_name_comes_from_the_file_where_nothing_says_it(write):
    path = write(attributes={"patch_size_level0": 512}, name="TCGA-A.B_patches.h5")
    assert read_coordinates(path).name == "TCGA-A.B"


def test_facts_that_are_no_numbers_are_unknown(write):
    path = write(attributes={**TRIDENT, "level0_magnification": "None", "level0_width": -1})
    found = read_coordinates(path)
    assert found.magnification0 is None
    assert found.size0 is None


def test_atlaspatch(write):
    rows = np.hstack([COORDS, np.tile([512, 512, 0], (3, 1))]).astype(np.int32)
    found = read_coordinates(write(rows))
    np.testing.assert_array_equal(found.coords, COORDS)
    assert (found.layout, found.footprint0, found.patch_size) == ("atlaspatch", (512, 512), 512)
    rows[:, 4] = 1  # what a patch of level 1 covers is not in these numbers
    with pytest.raises(CoordinateFileError, match="nothing says how much of the slide"):
        read_coordinates(write(rows))
    found = read_coordinates(write(rows, root={"patch_size_level0": 2048, "patch_size": 256}))
    assert (found.footprint0, found.patch_size) == ((2048, 2048), 256)


def test_ours(tmp_path):
    path = tmp_path / "S1.h5"
    facts = {"footprint0": 4096, "mpp0": 0.25, "width0": 8192, "height0": 6143}
    coords_attributes = {**CLAM, "name": "S1"}
    write_h5(path, Outcome("S1", "make_patches"), {"coords": COORDS}, facts, coords_attributes)
    found = read_coordinates(path)
    assert (found.layout, found.footprint0, found.mpp0) == ("ours", (4096, 4096), 0.25)
    assert (found.size0, found.name) == ((8192, 6143), "S1")


def test_what_our_own_stage_writes(make_slide, glass, tmp_path):
    """The real file of make_patches, not an imitation."""
    slide = make_slide(tmp_path / "S1.tiff", glass(2048, 2048))
    write_tissue(tmp_path / "S1.geojson", [[ring(0, 0, 2048, 2048)]], 2048, 2048)
    blank_thumbnail(tmp_path, 256, 256)
    assert patch_drawn(slide, tmp_path).ok
    coarse, fine = (read_coordinates(tmp_path / f"level{level}.h5") for level in (2, 1))
    assert (coarse.layout, coarse.footprint0, len(coarse.coords)) == ("ours", (1024, 1024), 4)
    assert (fine.layout, fine.footprint0, len(fine.coords)) == ("ours", (256, 256), 64)
    assert (fine.name, fine.size0, fine.mpp0) == ("S1", (2048, 2048), 0.25)


@pytest.mark.parametrize("kind", [np.int32, np.uint16, np.float32, np.float64])
def test_whole_numbers_of_any_type(write, kind):
    found = read_coordinates(write(COORDS.astype(kind), CLAM))
    assert found.coords.dtype == np.int64
    np.testing.assert_array_equal(found.coords, COORDS)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (512.5, "x is 512.5, which is no whole number; they must be level-0 pixels"),
        (-256.0, "x is -256.0, which is negative; corners lie inside the slide"),
        (np.nan, "x is nan, which is no number; make the file again"),
        (np.inf, "x is inf, which is no number"),
    ],
)
def test_wrong_corners(write, value, said):
    coords = COORDS.astype(np.float64)
    coords[1, 0] = value
    path = write(coords, CLAM)
    with pytest.raises(CoordinateFileError) as caught:
        read_coordinates(path)
    assert str(caught.value).startswith(f"{path}: dataset coords, row 1: {said}")
    assert caught.value.is_sentence


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2, 1), ()])
def test_wrong_shape(write, shape):
    with pytest.raises(CoordinateFileError, match=r"dataset coords is int64 \[.*it must be numb"):
        read_coordinates(write(np.zeros(shape, np.int64), CLAM))


def test_text_instead_of_numbers(write):
    coords = np.array([[b"a", b"b"]])
    with pytest.raises(CoordinateFileError, match="it must be numbers"):
        read_coordinates(write(coords, CLAM))


def test_nothing_in_it(write, tmp_path):
    with pytest.raises(CoordinateFileError, match="dataset coords is empty; lay the patches"):
        read_coordinates(write(np.zeros((0, 2), np.int64), CLAM))
    with pytest.raises(CoordinateFileError, match=r"no dataset coords \(it has: xy\)"):
        read_coordinates(write(COORDS, CLAM, dataset="xy"))
    write_failed(tmp_path / "S2.h5", Outcome("S2", "make_patches", "failed", "no scale.", "x"))
    with pytest.raises(CoordinateFileError, match="its slide failed: no scale"):
        read_coordinates(tmp_path / "S2.h5")


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"patch_size": 256},
        {"patch_size": 256, "downsample": 0.0},
        {"patch_size": "256px", "downsample": 1.0},
        {"patch_size_level0": -1},
    ],
)
def test_no_footprint(write, attributes):
    with pytest.raises(CoordinateFileError, match="give coords the attribute patch_size_level0"):
        read_coordinates(write(attributes=attributes))


def test_micrometres(write):
    with pytest.raises(CoordinateFileError, match="coords are in micrometres"):
        read_coordinates(write(root={"unit": "um"}))


def test_no_file_and_half_a_file(write, tmp_path):
    with pytest.raises(CoordinateFileError, match="there is no such file"):
        read_coordinates(tmp_path / "S9.h5")
    path = write(np.zeros((1000, 2), np.int64), CLAM)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CoordinateFileError, match="one that was cut off"):
        read_coordinates(path)
    path.write_text("x,y\n0,0\n")
    with pytest.raises(CoordinateFileError, match="not an HDF5 file"):
        read_coordinates(path)


@pytest.fixture
def write_clam(tmp_path):
    def write_clam(coords, path=None):
        path = path or tmp_path / "patches" / "slide.1.h5"
        there = write_clam_coordinates(
            path,
            coords,
            patch_size=256,
            patch_level=1,
            level_dimensions=LEVELS,
            name="slide.1",
            save_path="results/patches",
        )
        assert there == path.exists()
        return path

    return write_clam


def test_clam_layout_exactly(write_clam):
    with h5py.File(write_clam(COORDS.astype(np.int32)), "r") as file:
        assert list(file) == ["coords"]
        assert dict(file.attrs) == {}
        coords = file["coords"]
        np.testing.assert_array_equal(coords, COORDS)
        assert (coords.dtype, coords.maxshape, coords.chunks) == (np.int64, (None, 2), (1, 2))
        assert coords.compression is None
        attributes = dict(coords.attrs)
    assert attributes.pop("name") == "slide.1"
    assert attributes.pop("save_path") == "results/patches"
    assert {name: (value.dtype, value.shape) for name, value in attributes.items()} == {
        "patch_size": (np.int64, ()),
        "patch_level": (np.int64, ()),
        "downsample": (np.float64, (2,)),
        "downsampled_level_dim": (np.int64, (2,)),
        "level_dim": (np.int64, (2,)),
    }
    assert (attributes["patch_size"], attributes["patch_level"]) == (256, 1)
    assert attributes["downsample"].tolist() == [4.0, 6143 / 1536]
    assert attributes["level_dim"].tolist() == [2048, 1536]
    assert attributes["downsampled_level_dim"].tolist() == [2048, 1536]


def test_what_was_written_is_read_and_has_the_same_bytes(write_clam, tmp_path):
    path = write_clam(COORDS)
    found = read_coordinates(path)
    np.testing.assert_array_equal(found.coords, COORDS)
    assert found.footprint0 == (1024.0, 256 * 6143 / 1536)
    assert (found.size0, found.name) == ((8192, 6143), "slide.1")
    again = write_clam(COORDS, tmp_path / "again.h5")
    assert again.read_bytes() == path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["slide.1.h5"]  # nothing half-written


def test_no_row_no_file(write_clam):
    path = write_clam(COORDS)
    assert path.exists()
    write_clam(np.zeros((0, 2), np.int64))
    assert not path.exists()
