"""Features made elsewhere: a round trip through each layout, and each kind of damage in words."""

import io
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from wsi.export_features import export_features
from wsi.import_features import import_features
from wsi.layouts import clam
from wsi.layouts.finding import ImportFolderError, find_imported
from wsi.outcome import SlideError, write_failed
from wsi.storage import Outcome, read_features, read_outcome, sha256_arrays, write_h5

FOOTPRINT, MPP = 1024, 0.2527  # a scanner's own um per pixel: never a round number
N, WIDTH = 64, 12


def regions(blocks, footprint=FOOTPRINT):
    """Corners of whole regions, 16 rows each."""
    steps = np.array([(x, y) for y in range(4) for x in range(4)]) * footprint
    corners = np.array([(4 * footprint * (k % 3), 4 * footprint * (k // 3)) for k in range(blocks)])
    return (corners[:, None] + steps).reshape(-1, 2)


def random_features(n=N, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(dtype)


def write_ours(results, slide, features, coords, **known):
    attributes = {
        "footprint0": FOOTPRINT,
        "size": 256,
        "mpp0": MPP,
        "mpp_source": "openslide.mpp",
        "width0": 20_000,
        "height0": 18_000,
        "sha256": sha256_arrays(features, coords),
        **known,
    }
    path = Path(results) / f"features/uni/{slide}.h5"
    write_h5(
        path,
        Outcome(slide, "extract_features"),
        {"features": features, "coords": coords},
        {name: value for name, value in attributes.items() if value is not None},
    )
    return path


class Import:
    """Imports slides of one folder."""

    def __init__(self, folder, layout, out):
        self.folder, self.layout, self.out = folder, layout, out

    def __call__(self, slide="S1", path="", mpp=None, patches=None):
        """Return what became of the slide."""
        found = find_imported(
            str(self.folder), self.layout, "uni", {slide: str(path)}, 1.0, patches or {}
        )
        self.path = self.out / f"{slide}.h5"
        return import_features(
            slide_id=slide,
            slide=str(path),
            mpp=mpp,
            folder=str(self.folder),
            layout=self.layout,
            files=found[slide],
            encoder="uni",
            features=str(self.path),
            thumbnail=str(self.out / f"{slide}.jpg"),
            picture=str(self.out / f"{slide}.grid.jpg"),
        )

    def read(self):
        return read_features(self.path)

    def refused(self, kind, *sentences, **settings):
        """Check that the slide fails in these words, with all its files there."""
        outcome = self(**settings)
        assert outcome.kind == kind, outcome
        assert read_outcome(self.path) == outcome
        assert self.path.with_suffix(".jpg").is_file()
        for sentence in sentences:
            assert sentence in outcome.reason, outcome.reason


@pytest.fixture
def exported(tmp_path):
    """A function that writes one slide S1 in a layout and returns its importer."""

    def write(layout, features=None, coords=None, **known):
        features = random_features() if features is None else features
        coords = regions(len(features) // 16) if coords is None else coords
        write_ours(tmp_path / "run", "S1", features, coords, **known)
        export_features(
            results=str(tmp_path / "run"), encoder="uni", to=str(tmp_path / layout), layout=layout
        )
        return Import(tmp_path / layout, layout, tmp_path / "out")

    return write


# A round trip through each layout


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("layout", ["clam", "trident", "stamp"])
def test_a_round_trip_changes_nothing(exported, layout, dtype):
    features, coords = random_features(dtype=dtype), regions(4)
    bring = exported(layout, features, coords)
    assert bring().ok
    got, places, attributes = bring.read()
    np.testing.assert_array_equal(got, features)
    # CLAM's type is float32; STAMP's um come back to the very pixel, as they are kept in float64
    assert got.dtype == (np.float32 if layout == "clam" else dtype)
    np.testing.assert_array_equal(places, coords)
    assert places.dtype == np.int64
    assert isinstance(got, np.memmap), "contiguous: training maps it"
    assert attributes["footprint0"] == pytest.approx(FOOTPRINT, abs=1e-9)
    assert attributes["sha256"] == sha256_arrays(np.asarray(got), places)
    assert attributes["regions"]
    assert attributes["encoder"] == "uni"
    assert attributes["precision"] == str(got.dtype)
    assert attributes["source"].startswith(
        {"clam": "h5_files/S1.h5, pt_files/S1.pt", "trident": "features_uni/S1.h5",
         "stamp": "stamp/S1.h5"}[layout]
    )  # fmt: skip
    assert ("mpp0" in attributes) == (layout != "clam"), "CLAM's files say no scale"


def test_stamps_coordinates_in_single_precision_come_back_within_a_pixel(exported):
    coords = regions(4) + 90_000
    bring = exported("stamp", coords=coords)
    with h5py.File(bring.folder / "S1.h5", "r+") as file:
        um = file["coords"][:].astype(np.float32)
        del file["coords"], file.attrs["mpp0"]
        file["coords"] = um
    assert bring(mpp=MPP).ok
    _, places, attributes = bring.read()
    assert np.abs(places - coords).max() <= 1
    assert attributes["regions"]
    assert (attributes["mpp0"], attributes["mpp_source"]) == (MPP, "slides.csv")


def test_stamps_coordinates_stay_in_um_where_no_scale_is_known(exported):
    bring = exported("stamp")
    with h5py.File(bring.folder / "S1.h5", "r+") as file:
        del file.attrs["mpp0"]
    assert bring().ok
    _, places, attributes = bring.read()
    np.testing.assert_array_equal(places, np.rint(regions(4) * MPP))
    assert (attributes["mpp0"], attributes["mpp_source"]) == (1.0, "coords are in um")
    assert attributes["footprint0"] == pytest.approx(FOOTPRINT * MPP)
    assert attributes["regions"]


def test_clams_files_have_exactly_its_types(exported):
    bring = exported("clam", random_features(dtype=np.float16))
    with h5py.File(bring.folder / "h5_files/S1.h5") as file:
        features, coords = file["features"], file["coords"]
        assert (features.dtype, coords.dtype) == (np.float32, np.int32)
        assert (features.chunks, features.maxshape) == ((32, WIDTH), (None, WIDTH))
        assert (coords.chunks, coords.maxshape) == ((32, 2), (None, 2))
        assert not file.attrs.keys() | features.attrs.keys() | coords.attrs.keys()
    tensor = torch.load(bring.folder / "pt_files/S1.pt", weights_only=True)
    assert (type(tensor), tensor.dtype) == (torch.Tensor, torch.float32)


def test_plain_tensors_keep_their_type(tmp_path):
    features = random_features(dtype=np.float16)
    write_ours(tmp_path / "run", "S1", features, regions(4))
    write_failed(tmp_path / "run/features/uni/S2.h5", Outcome("S2", "find_tissue", "failed", "x"))
    to = tmp_path / "plain"
    export_features(results=str(tmp_path / "run"), encoder="uni", to=str(to), layout="pt")
    assert [path.name for path in to.iterdir()] == ["S1.pt"], "failed slides have no file"
    tensor = torch.load(to / "S1.pt", weights_only=True)
    np.testing.assert_array_equal(tensor.numpy(), features)
    assert tensor.dtype == torch.float16


def test_an_export_that_cannot_be_is_refused(tmp_path):
    write_ours(tmp_path / "run", "S1", random_features(), regions(4), mpp0=None, mpp_source=None)
    settings = {"results": str(tmp_path / "run"), "to": str(tmp_path / "to")}
    with pytest.raises(ValueError, match=r"layout is clamm; it must be one of clam, trident"):
        export_features(**settings, encoder="uni", layout="clamm")
    with pytest.raises(ValueError, match=r"has no features; .* encoder=uni\."):
        export_features(**settings, encoder="resnet50", layout="clam")
    with pytest.raises(ValueError, match=r"slide S1 has no known scale, and STAMP's"):
        export_features(**settings, encoder="uni", layout="stamp")


# What the layouts hold besides


def test_a_leading_axis_of_one_slide_is_taken_off(exported):
    bring = exported("trident")
    replace(bring.folder / "features_uni/S1.h5", features=lambda rows: rows[None])
    assert bring().ok
    assert bring.read()[0].shape == (N, WIDTH)


def test_a_file_is_found_by_the_name_of_the_slides_file(exported):
    bring = exported("trident")
    path = bring.folder / "features_uni/S1.h5"
    path.rename(path.with_name("TCGA-A1-01Z-00-DX1.7F2A.h5"))
    assert bring(path="/data/TCGA-A1-01Z-00-DX1.7F2A.svs").ok
    bring.refused(
        "no_features",
        "there is no file of features named S1 nor TCGA-A2 in features.import (trident)",
        path="/data/TCGA-A2.svs",
    )


def test_clams_tensors_need_its_patches(exported, tmp_path):
    bring = exported("clam")
    (bring.folder / "h5_files/S1.h5").unlink()
    with pytest.raises(ImportFolderError, match=r"it has \.pt files only, and nothing says where"):
        bring()
    write_clam_patches(bring.folder.parent / "patches/S1.h5", regions(4))
    assert bring().ok
    _, places, attributes = bring.read()
    np.testing.assert_array_equal(places, regions(4))
    assert (attributes["footprint0"], attributes["footprint_source"]) == (FOOTPRINT, "file")
    own = write_clam_patches(tmp_path / "own.h5", regions(4) + 7)
    assert bring(patches={"S1": str(own)}).ok, "column patches of the slide table"
    np.testing.assert_array_equal(bring.read()[1], regions(4) + 7)
    bring.refused(
        "damaged", "pt_files/S1.pt has 64 rows of features, but", "has 48 patches",
        patches={"S1": str(write_clam_patches(tmp_path / "own.h5", regions(3)))},
    )  # fmt: skip


def test_a_tensor_without_places_among_others_is_an_outcome(exported):
    bring = exported("clam")
    for kind in ("h5", "pt"):
        path = bring.folder / f"{kind}_files/S1.{kind}"
        path.with_name(f"S2.{kind}").write_bytes(path.read_bytes())
    (bring.folder / "h5_files/S1.h5").unlink()
    found = find_imported(str(bring.folder), "clam", "uni", {"S1": "", "S2": ""}, 0.0)
    assert set(found["S1"]) == {"pt"}
    with pytest.raises(SlideError, match=r"pt_files/S1.pt holds features alone, and nothing says"):
        clam.read(found["S1"])


def test_clams_patches_say_what_a_patch_covers(exported):
    bring = exported("clam", coords=regions(4, 512))  # overlapping: the step is not the patch
    assert bring().ok
    assert bring.read()[2]["footprint0"] == 512
    assert bring.read()[2]["footprint_source"] == "step of the grid"
    write_clam_patches(bring.folder / "patches/S1.h5", regions(4, 512))
    assert bring().ok
    assert (bring.read()[2]["footprint0"], bring.read()[2]["look"]) == (FOOTPRINT, "")
    write_clam_patches(bring.folder / "patches/S1.h5", regions(4, 256))
    assert bring().ok
    assert bring.read()[2]["look"] == "patches/S1.h5 has other coordinates and is not used."


def test_an_interrupted_run_of_clam_is_seen(exported):
    bring = exported("clam", coords=regions(4))
    (bring.folder / "pt_files/S1.pt").unlink()
    write_clam_patches(bring.folder / "patches/S1.h5", regions(5))
    bring.refused(
        "damaged", "h5_files/S1.h5 has the first 64 of the 80 patches of patches/S1.h5",
        "interrupted run",
    )  # fmt: skip


def test_double_precision_becomes_single_and_bfloat16_too(exported):
    bring = exported("trident")
    replace(bring.folder / "features_uni/S1.h5", features=lambda rows: rows.astype(np.float64))
    assert bring().ok
    assert bring.read()[0].dtype == np.float32
    bring = exported("clam")
    (bring.folder / "h5_files/S1.h5").unlink()
    write_clam_patches(bring.folder / "patches/S1.h5", regions(4))
    torch.save(torch.ones(N, WIDTH, dtype=torch.bfloat16), bring.folder / "pt_files/S1.pt")
    assert bring().ok
    assert bring.read()[0].dtype == np.float32


def test_copies_and_patches_outside_the_slide_are_told(exported, make_slide, glass):
    coords = regions(4)
    coords[5] = coords[4]
    bring = exported("trident", coords=coords)
    slide = make_slide(bring.folder.parent / "S1.tiff", glass(4096, 6144))
    assert bring(path=slide).ok
    look = bring.read()[2]["look"]
    assert "1 of 64 patches lie where another one does." in look
    outside = int((coords >= (6144, 4096)).any(axis=1).sum())
    assert f"{outside} of 64 patches lie outside the slide (6144 x 4096 pixels)" in look
    assert not bring.read()[2]["regions"]


# Pictures


def test_patches_are_drawn_on_the_slide_where_it_is_there(exported, make_slide, glass):
    bring = exported("trident", random_features(16), regions(1))
    rgb = glass(6144, 8192)
    rgb[0:4096, 0:4096] = (190, 110, 170)
    slide = make_slide(bring.folder.parent / "S1.tiff", rgb)
    assert bring(path=slide).ok
    picture = cv2.imread(str(bring.out / "S1.jpg"))[..., ::-1].astype(int)
    assert picture.shape == (768, 1024, 3)
    assert np.abs(picture[100:400, 100:400] - (190, 110, 170)).max() < 30
    attributes = bring.read()[2]
    assert attributes["bounds"].tolist() == [0, 0, 8192, 6144]
    assert (attributes["width0"], attributes["height0"]) == (8192, 6144)


def test_patches_are_drawn_on_a_canvas_without_a_slide(exported):
    bring = exported("clam", random_features(16), regions(1) + 8000)
    assert bring(path="gone.svs").ok
    assert bring.read()[2]["bounds"].tolist() == [8000, 8000, 4096, 4096]
    assert abs(cv2.imread(str(bring.out / "S1.jpg")).mean() - 205) < 3, "all of it is covered"
    lined = cv2.imread(str(bring.out / "S1.grid.jpg"))
    assert lined[256].std() > lined[100].std() + 3, "a line between patches"


def test_a_slide_that_cannot_be_opened_stops_nothing(exported, tmp_path):
    bring = exported("trident")
    broken = tmp_path / "S1.svs"
    broken.write_bytes(b"no slide")
    assert bring(path=broken).ok
    assert "Its slide cannot be shown:" in bring.read()[2]["look"]


# Regions of sixteen


def test_a_multiple_of_sixteen_by_chance_is_no_region(exported):
    columns = np.array([(x, y) for x in range(8) for y in range(8)]) * FOOTPRINT  # CLAM's order
    for layout in ("clam", "trident", "stamp"):
        bring = exported(layout, coords=columns)
        assert bring().ok
        assert not bring.read()[2]["regions"], layout


def test_one_moved_patch_makes_no_region(exported):
    coords = regions(4)
    coords[[16, 40]] = coords[[40, 16]]
    bring = exported("trident", coords=coords)
    assert bring().ok
    assert not bring.read()[2]["regions"]


def test_advmils_regions_pass_in_either_order_and_with_its_old_step(exported):
    column_first = regions(4).reshape(4, 4, 4, 2).swapaxes(1, 2).reshape(-1, 2)
    old_step = np.concatenate([regions(1, 256) + np.array([9000 * k, 500]) for k in range(4)])
    for coords in (column_first, old_step):
        bring = exported("clam", coords=coords)
        write_clam_patches(bring.folder / "patches/S1.h5", coords)
        assert bring().ok
        assert bring.read()[2]["regions"]
        assert bring.read()[2]["footprint0"] == FOOTPRINT


# Damage


def replace(path, **edits):
    """Write datasets anew, each as its function makes it; None takes it away."""
    with h5py.File(path, "r+") as file:
        for name, edit in edits.items():
            dataset = file[name]
            array, known = dataset[:], dict(dataset.attrs)
            del file[name]
            if edit is not None:
                file[name] = edit(array)
                file[name].attrs.update(known)


def write_clam_patches(path, coords):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = coords.astype(np.int64)
        file["coords"].attrs["patch_size"] = 256
        file["coords"].attrs["downsample"] = (4.0, 4.0)
    return path


def with_value(row, column, value):
    def edit(array):
        array = array.copy()
        array[row, column] = value
        return array

    return edit


H5 = {"clam": "h5_files/S1.h5", "trident": "features_uni/S1.h5", "stamp": "S1.h5"}
FEATURES = {"clam": "features", "trident": "features", "stamp": "feats"}


@pytest.mark.parametrize("layout", H5)
@pytest.mark.parametrize(
    ("edit", "kind", "sentence"),
    [
        (with_value(3, 1, np.nan), "damaged", "has NaN or infinity in row 3 of 64"),
        (with_value([1, 2], 1, np.inf), "damaged", "has NaN or infinity in rows 1, 2 of 64"),
        (with_value(slice(9), 0, -np.inf), "damaged", "rows 0, 1, 2, 3, 4 and 4 more of 64"),
        (lambda rows: rows.astype(np.float64) * 1e300, "damaged", "has NaN or infinity in rows"),
        (lambda rows: rows[:0], "no_features", "has no row (shape [0, 12])"),
        (lambda rows: rows[:, :0], "no_features", "has no row (shape [64, 0])"),
        (lambda rows: rows[0], "damaged", "has shape [12] (one vector of the whole slide?)"),
        (lambda rows: rows.reshape(2, 32, 12), "damaged", "has shape [2, 32, 12]; it must be"),
        (lambda rows: rows[:32], "damaged", "has 32 rows of features, but its coords has 64"),
        (lambda rows: rows.astype(int), "damaged", "holds int64 [64, 12], where features are"),
        (lambda rows: rows.astype(complex), "damaged", "holds complex128 [64, 12]"),
        (lambda rows: rows.astype("S4"), "damaged", "holds |S4 [64, 12]"),
        (None, "damaged", "is features.layout right?"),
    ],
)
def test_damaged_features(exported, layout, edit, kind, sentence):
    bring = exported(layout)
    if layout == "clam":
        (bring.folder / "pt_files/S1.pt").unlink()
    replace(bring.folder / H5[layout], **{FEATURES[layout]: edit})
    bring.refused(kind, H5[layout].rpartition("/")[2], sentence)


@pytest.mark.parametrize("layout", H5)
@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda c: c[:32], "has 64 rows of features, but its coords has 32 patches"),
        (with_value(7, 1, -5), "row 7"),
        (lambda c: with_value(7, 1, np.nan)(c.astype(float)), "row 7"),
        (lambda c: with_value(7, 0, np.inf)(c.astype(float)), "row 7"),
        (lambda c: c[:, 0], "[64]; it must be numbers [" ),
        (lambda c: c.astype(complex), "dataset coords is complex128"),
        (lambda c: c.astype("S6"), "dataset coords is |S6"),
        (None, "has no dataset coords"),
    ],
)  # fmt: skip
def test_damaged_coordinates(exported, layout, edit, sentence):
    bring = exported(layout)
    replace(bring.folder / H5[layout], coords=edit)
    bring.refused("damaged", sentence)


@pytest.mark.parametrize("layout", H5)
@pytest.mark.parametrize(
    "content", [lambda b: b[: len(b) // 2], lambda b: b"garbage" * 100, lambda b: b""]
)
def test_a_file_that_is_no_hdf5_or_was_cut_off(exported, layout, content):
    bring = exported(layout)
    path = bring.folder / H5[layout]
    path.write_bytes(content(path.read_bytes()))
    bring.refused("unreadable", "S1.h5 is no HDF5 file, or was cut off")


def test_rows_that_were_never_written_are_no_zeros(exported):
    bring = exported("trident")
    with h5py.File(bring.folder / "features_uni/S1.h5", "r+") as file:
        rows = file["features"][:32]
        del file["features"]
        dataset = file.create_dataset("features", (N, WIDTH), np.float32, chunks=(32, WIDTH))
        dataset[:32] = rows
    bring.refused("unreadable", "dataset features claims [64, 12], but not all of it was ever")


def test_compressed_files_are_read(exported):
    bring = exported("trident", np.zeros((N, WIDTH), np.float32))
    with h5py.File(bring.folder / "features_uni/S1.h5", "r+") as file:
        rows = file["features"][:]
        del file["features"]
        file.create_dataset("features", data=rows, compression="gzip", compression_opts=9)
    assert bring().ok


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        ({"features": torch.ones(N, WIDTH)}, "damaged", "holds a dict with features, not one"),
        ([torch.ones(N, WIDTH)], "damaged", "holds a list, not one tensor"),
        (Path("/tmp"), "damaged", "holds objects that only their own program can unpickle"),
        (np.ones((N, WIDTH), np.float32), "damaged", "holds objects that only their own program"),
        (torch.ones(N, WIDTH, dtype=torch.int32), "damaged", "holds int32 [64, 12]"),
        (torch.ones(N, WIDTH).to_sparse(), "damaged", "holds a sparse or quantised tensor"),
        (torch.full((N, WIDTH), torch.nan), "damaged", "has NaN or infinity in rows"),
        (torch.ones(WIDTH), "damaged", "has shape [12]"),
        (torch.ones(N, WIDTH), "damaged", "differ in 64 of 64 rows, first in row 0"),
        (torch.ones(N, 3), "damaged", "have shapes [64, 12] and [64, 3]"),
    ],
)
def test_a_tensor_file_that_is_none(exported, content, kind, sentence):
    bring = exported("clam")
    torch.save(content, bring.folder / "pt_files/S1.pt")
    bring.refused(kind, "pt_files/S1.pt", sentence)


@pytest.mark.parametrize("cut", [lambda b: b[: len(b) // 2], lambda b: b"garbage", lambda b: b""])
def test_a_tensor_file_that_was_cut_off(exported, cut):
    bring = exported("clam")
    path = bring.folder / "pt_files/S1.pt"
    path.write_bytes(cut(path.read_bytes()))
    bring.refused("unreadable", "pt_files/S1.pt is no file of torch.save, or was cut off")


def test_what_a_tensor_file_holds_is_never_run(exported, tmp_path):
    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    bring = exported("clam")
    torch.save(Harm(), bring.folder / "pt_files/S1.pt")
    bring.refused("damaged", "only their own program can unpickle")
    assert not (tmp_path / "harm").exists()
    buffer = io.BytesIO()
    torch.save(Harm(), buffer)
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "harm").exists(), "it would have been"


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"unit": "px"}, "unit is px and tile_size_um"),
        ({"tile_size_um": None}, "tile_size_um not said"),
        ({"feat_type": "slide"}, "has features of kind slide (feat_type)"),
    ],
)
def test_stamps_attributes(exported, attributes, sentence):
    bring = exported("stamp")
    with h5py.File(bring.folder / "S1.h5", "r+") as file:
        for name, value in attributes.items():
            del file.attrs[name]
            if value is not None:
                file.attrs[name] = value
    bring.refused("damaged", sentence)


# The folder as a whole


def test_a_folder_of_another_layout_is_refused(exported):
    bring = exported("trident")
    bring.layout = "clam"
    with pytest.raises(
        ImportFolderError,
        match=r"no file of features in the layout clam \(pt_files/\*.pt or h5_files/\*.h5 in it\)"
        r"\. It has: features_uni\.",
    ):
        bring()


def test_two_slides_do_not_share_a_file(exported):
    bring = exported("trident")
    with pytest.raises(ImportFolderError, match=r"slides A and B would both have the features"):
        find_imported(str(bring.folder), "trident", "uni", {"A": "a/S1.svs", "B": "b/S1.svs"}, 1.0)


def test_more_missing_files_than_may_fail_stop_the_run(exported):
    bring = exported("trident")
    slides = {"S1": "", "S2": "", "S3": "S3.svs"}
    found = find_imported(str(bring.folder), "trident", "uni", slides, 0.7)
    assert (found["S2"], found["S3"]) == ({}, {})
    with pytest.raises(ImportFolderError, match=r"slide S2: there is no file of features named S2"):
        find_imported(str(bring.folder), "trident", "uni", slides, 0.6)


def test_listing_opens_no_file(exported, monkeypatch):
    bring = exported("clam")
    for path in bring.folder.rglob("S1.*"):
        path.write_bytes(b"garbage")
    found = find_imported(str(bring.folder), "clam", "uni", {"S1": ""}, 0.0)
    assert set(found["S1"]) == {"h5", "pt"}
