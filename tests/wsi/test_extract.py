import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.wsi.encoding.plain_loop import cosines, plain_loop
from tests.wsi.stage_runs import blank_thumbnail, patch_drawn, ring, write_tissue
from wsi import encoders
from wsi.encoders import Encoder
from wsi.encoding.patch_reader import PatchReader
from wsi.extract import extract_features
from wsi.perturbation import Perturbation
from wsi.reader import Slide
from wsi.storage import (
    Outcome,
    read_features,
    read_h5,
    read_outcome,
    sha256_arrays,
    sha256_file,
    write_h5,
)
from wsi.weights import fetch_weights


class MeanColour(nn.Module):
    """An encoder that can be checked by eye: the mean red, green and blue of a patch, 0 to 1."""

    most = 10**9  # patches that fit in memory

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("made for the test")
        return x.mean((2, 3)) * self.scale


@pytest.fixture(scope="module")
def files(tmp_path_factory, random_resnet50):
    """Weights of the encoders."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        tiny = Encoder("tiny", MeanColour, 3, 32, mean=(0, 0, 0), std=(1, 1, 1))
        patch.setitem(encoders.ENCODERS, "tiny", tiny)
        fetch_weights(encoder="tiny", weights="random", output=str(path))
        yield {"tiny": path, "resnet50": random_resnet50}


@pytest.fixture
def lay(tmp_path):
    """Lay patches on a whole slide."""

    def lay(slide, size=64, mpp0=0.25, **patches):
        with Slide(slide) as opened:
            width, height = opened.dimensions
        whole = ring(0, 0, width, height)
        write_tissue(tmp_path / "S1.geojson", [[whole]], width, height, mpp0)
        blank_thumbnail(tmp_path, 64, 64)
        outcome = patch_drawn(slide, tmp_path, size=size, min_tissue=0.0, **patches)
        assert outcome.ok
        return tmp_path / "level1.h5"

    return lay


@pytest.fixture
def run(tmp_path, files):
    def run(slide, patches, encoder="tiny", name="features.h5", **settings):
        outcome = extract_features(
            slide_id="S1",
            slide=str(slide),
            patches=str(patches),
            features=str(tmp_path / name),
            **({"device": "cpu", "weights": str(files[encoder])} | settings),
        )
        return outcome, tmp_path / name

    return run


@pytest.fixture(scope="module")
def noisy(make_slide, noise, tmp_path_factory):
    """2112 x 2064 at 0.25 um/px: 9 coarse patches of 64 px, some over the edge."""
    path = tmp_path_factory.mktemp("slide") / "noisy.tiff"
    return make_slide(path, noise(2064, 2112, seed=7), downsamples=(4, 16))


@pytest.fixture(scope="module")
def single(make_slide, noise, tmp_path_factory):
    """1024 x 1024 at 1 um/px: one coarse patch, its 16 children of 256 px read as they are."""
    path = tmp_path_factory.mktemp("slide") / "single.tiff"
    return make_slide(path, noise(1024, 1024, seed=8), mpp=1.0, downsamples=())


def test_resnet50_features_equal_a_plain_loop_at_any_batch_size(run, lay, single, files):
    patches = lay(single, size=256, mpp0=1.0)
    outcome, path = run(single, patches, "resnet50")
    assert outcome.ok
    features, coords, _ = read_features(path)
    assert features.shape == (16, 1024)
    assert features.dtype == np.float32
    expected = plain_loop(single, coords, files["resnet50"])
    assert cosines(features, expected).min() > 0.9999
    # as near to its own row as to no other: rows are not mixed up
    distance = np.linalg.norm(features[:, None] - expected[None], axis=2)
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(16))
    _, by_five = run(single, patches, "resnet50", name="five.h5", batch_size=5)
    np.testing.assert_allclose(read_features(by_five)[0], features, atol=1e-4)


def test_rows_are_the_patches_of_the_file_in_their_order(run, lay, noisy):
    patches = lay(noisy)
    _, path = run(noisy, patches)
    features, coords, _ = read_features(path)
    np.testing.assert_array_equal(coords, read_h5(patches)[0]["coords"])
    assert len(coords) == 9 * 16
    level1 = np.full((3 * 256, 3 * 256, 3), 255, np.uint8)  # outside is white
    with Slide(noisy) as slide:
        width, height = slide.level_dimensions[1]
        level1[:height, :width] = slide.read(0, 0, 1, width, height)[0]
    for row, (x, y) in zip(features, coords // 4, strict=True):
        mean = level1[y : y + 64, x : x + 64].mean(axis=(0, 1)) / 255
        np.testing.assert_allclose(row, mean, atol=1.5 / 255)


@pytest.mark.parametrize("batch_size", [1, 5, 16, 40, 1000])
def test_the_batch_size_does_not_change_the_features(run, lay, noisy, batch_size):
    patches = lay(noisy)
    expected = read_features(run(noisy, patches)[1])[0]
    _, path = run(noisy, patches, name="other.h5", batch_size=batch_size)
    np.testing.assert_allclose(read_features(path)[0], expected, atol=1e-6)


def test_out_of_memory_means_smaller_batches_and_the_same_features(
    run, lay, noisy, monkeypatch, caplog
):
    patches = lay(noisy)
    expected = read_features(run(noisy, patches)[1])[0]
    monkeypatch.setattr(MeanColour, "most", 7)
    _, path = run(noisy, patches, name="other.h5", batch_size=64)
    np.testing.assert_allclose(read_features(path)[0], expected, atol=1e-6)
    assert "out of memory: going on with batches of 4" in caplog.text
    monkeypatch.setattr(MeanColour, "most", 0)
    with pytest.raises(torch.OutOfMemoryError):
        run(noisy, patches, name="none.h5", batch_size=4)


def test_a_second_run_gives_the_same_bytes(run, lay, noisy):
    patches = lay(noisy)
    first, again = (run(noisy, patches, name=name)[1] for name in ("a.h5", "b.h5"))
    assert sha256_file(first) == sha256_file(again)


def test_the_file_says_what_made_it(run, lay, noisy, files):
    _, path = run(noisy, lay(noisy))
    features, coords, attributes = read_features(path)
    assert isinstance(features, np.memmap)  # contiguous, not compressed
    assert attributes["encoder"] == "tiny"
    assert attributes["weights"] == "random:0"
    assert attributes["weights_sha256"] == sha256_file(files["tiny"])
    assert attributes["sha256"] == sha256_arrays(np.array(features), coords)
    assert (attributes["width0"], attributes["height0"]) == (2112, 2064)
    assert (attributes["footprint0"], attributes["mpp0"]) == (256, 0.25)
    assert attributes["precision"] == "float32"
    assert attributes["unreadable_patches"] == 0
    assert attributes["slide"] == "S1"


def one_and_sixteen_reads(slide, patches):
    reader = PatchReader.open(slide, patches)
    starts = range(0, len(reader.coords), 16)
    whole = {start: reader.block(start)[0] for start in starts} if reader.one_read else None
    reader.one_read = False
    single = {start: reader.block(start)[0] for start in starts}
    reader.close()
    return whole, single


def test_one_read_of_a_block_equals_sixteen(lay, noisy):
    whole, single = one_and_sixteen_reads(noisy, lay(noisy))
    assert list(whole) == list(single) == list(range(0, 9 * 16, 16))
    for start, block in whole.items():
        assert block.shape == (16, 64, 64, 3)
        np.testing.assert_array_equal(block, single[start])


def test_one_read_that_is_reduced_equals_sixteen(lay, make_slide, noise, tmp_path):
    slide = make_slide(tmp_path / "a.tiff", noise(1024, 1024, seed=3), mpp=0.5, downsamples=())
    whole, single = one_and_sixteen_reads(slide, lay(slide, size=128, mpp0=0.5))
    np.testing.assert_array_equal(whole[0], single[0])
    with Slide(slide) as opened:
        rgb, _ = opened.read(256, 0, 0, 256, 256)
    mean = rgb.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    assert abs(single[0][1] - mean).max() <= 0.5  # reduced by area averaging


def test_where_no_whole_pixels_meet_patches_are_read_one_by_one(lay, make_slide, noise, tmp_path):
    slide = make_slide(tmp_path / "a.tiff", noise(2047, 2049, seed=3), downsamples=(3.99,))
    whole, single = one_and_sixteen_reads(slide, lay(slide))
    assert whole is None
    assert single[0].shape == (16, 64, 64, 3)


def test_patches_at_legacy_offsets_are_read_where_they_lie(run, lay, noisy):
    patches = lay(noisy, legacy_offsets=True)  # 64 level-0 pixels apart, 256 wide
    whole, single = one_and_sixteen_reads(noisy, patches)
    assert whole is None
    with Slide(noisy) as slide:
        for (x, y), patch in zip(read_h5(patches)[0]["coords"][:16], single[0], strict=True):
            np.testing.assert_array_equal(patch, slide.read(x, y, 1, 64, 64)[0])
    np.testing.assert_array_equal(single[0][1][:, :-16], single[0][0][:, 16:])  # they overlap
    features = read_features(run(noisy, patches)[1])[0]
    np.testing.assert_allclose(features[:16], single[0].mean((1, 2)) / 255, atol=1.5 / 255)


def test_changed_pixels_are_encoded_and_the_file_says_so(run, lay, noisy):
    patches = lay(noisy)
    _, plain = run(noisy, patches)
    change = {"kind": "hed", "level": "light", "seed": 3}
    _, path = run(noisy, patches, name="changed.h5", perturbation=change)
    _, again = run(noisy, patches, name="again.h5", perturbation=change, batch_size=48, threads=2)
    assert sha256_file(path) == sha256_file(again)
    features, coords, attributes = read_features(path)
    before = read_features(plain)
    assert attributes["perturbation"] == "hed-light"
    assert "perturbation" not in before[2]
    np.testing.assert_array_equal(coords, before[1])
    reader = PatchReader.open(noisy, patches)
    pixels = np.concatenate([reader.block(start)[0] for start in range(0, len(coords), 16)])
    reader.close()
    expected = Perturbation(**change).of_slide("S1", len(coords))(pixels, 0).mean((1, 2)) / 255
    np.testing.assert_allclose(features, expected, atol=0.6 / 255)
    assert np.abs(features - before[0]).max() > 0.05


@pytest.fixture
def tiles(make_slide, noise, tmp_path):
    """2048 x 2048, 256 patches of 32 px, each a storage tile of level 1."""

    def tiles(name):
        return make_slide(
            tmp_path / name,
            noise(2048, 2048, seed=9),
            downsamples=(4,),
            compression="jpeg",
            tile=32,
        )

    return tiles


@pytest.mark.parametrize("compression", ["deflate", "jpeg"])
@pytest.mark.parametrize(
    ("height", "width", "tolerance"),
    # where levels have no whole ratio OpenSlide begins a fraction of a pixel beside the patch:
    # half a grey level in the mean colour of a picture without two alike places
    [(1024, 2048, 0), (1030, 2050, 0.5 / 255)],
)
def test_both_back_ends_give_the_same_features(
    run, lay, make_slide, noise, tmp_path, monkeypatch, compression, height, width, tolerance
):
    slide = make_slide(tmp_path / "a.tiff", noise(height, width, 3), compression=compression)
    patches = lay(slide)
    _, direct = run(slide, patches, name="direct.h5")
    monkeypatch.setattr("wsi.reader.opening.PLAIN_TIFF", ())
    with Slide(slide) as opened:
        assert opened.backend == "openslide"
    _, openslides = run(slide, patches, name="openslide.h5")
    difference = read_features(direct)[0] - read_features(openslides)[0]
    assert abs(difference).max() <= tolerance


def test_a_few_damaged_patches_are_counted_and_the_others_are_right(run, lay, tiles, damage_tile):
    whole, damaged = tiles("whole.tiff"), tiles("damaged.tiff")
    patches = lay(whole, size=32)
    for number in (40, 100):  # rows 2 and 6, columns 8 and 4 of 16
        damage_tile(damaged, level=1, number=number)
    expected, coords, _ = read_features(run(whole, patches)[1])
    outcome, path = run(damaged, patches, name="damaged.h5")
    assert outcome.ok
    features, _, attributes = read_features(path)
    assert attributes["unreadable_patches"] == 2
    hit = (coords == (8 * 128, 2 * 128)).all(axis=1) | (coords == (4 * 128, 6 * 128)).all(axis=1)
    np.testing.assert_allclose(features[hit], 1)  # background
    np.testing.assert_array_equal(features[~hit], expected[~hit])


def test_more_than_one_percent_damaged_patches_are_an_outcome(run, lay, tiles, damage_tile):
    slide = tiles("damaged.tiff")
    patches = lay(slide, size=32)
    for number in (40, 100, 101):
        damage_tile(slide, level=1, number=number)
    outcome, path = run(slide, patches)
    assert (outcome.kind, outcome.stage) == ("damaged", "extract_features")
    assert outcome.reason.startswith("slide S1: 3 of 256 patches cannot be read; copy the slide")
    assert read_outcome(path) == outcome
    assert len(read_features(path)[0]) == 0


def test_damage_on_a_level_that_is_not_read_costs_nothing(run, lay, tiles, damage_tile):
    slide = tiles("damaged.tiff")
    patches = lay(slide, size=32)
    for number in range(200):
        damage_tile(slide, level=0, number=number)
    outcome, path = run(slide, patches)
    assert outcome.ok
    assert read_features(path)[2]["unreadable_patches"] == 0


def test_a_slide_that_has_gone_is_an_outcome(run, lay, tiles):
    slide = tiles("a.tiff")
    patches = lay(slide, size=32)
    slide.unlink()
    assert run(slide, patches)[0].kind == "unreadable"


def test_a_failed_slide_passes_its_outcome_on_without_being_opened(run, tmp_path):
    failed = Outcome("S1", "find_tissue", "failed", "slide S1: no tissue.", "no_tissue")
    write_h5(tmp_path / "level1.h5", failed, {"coords": np.zeros((0, 2), np.int64)})
    outcome, path = run(tmp_path / "missing.tiff", tmp_path / "level1.h5")
    assert outcome == failed == read_outcome(path)
    assert len(read_features(path)[0]) == 0


def test_features_that_are_no_numbers_are_an_error_and_no_outcome(run, lay, noisy, files):
    from wsi.weights import load_encoder

    patches = lay(noisy)
    state = safetensors.torch.load_file(files["tiny"])
    with safetensors.safe_open(files["tiny"], "pt") as file:
        described = file.metadata()
    bad = files["tiny"].with_name("bad.safetensors")
    state["scale"][0] = float("nan")
    safetensors.torch.save_file(state, bad, described)
    assert load_encoder(bad)[0].name == "tiny"
    with pytest.raises(ArithmeticError, match="S1: features are not finite"):
        run(noisy, patches, encoder="tiny", name="bad.h5", weights=str(bad))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_a_gpu_agrees_with_the_cpu(run, lay, single):
    patches = lay(single, size=256, mpp0=1.0)
    expected = read_features(run(single, patches, "resnet50")[1])[0]
    _, path = run(single, patches, "resnet50", name="gpu.h5", device="cuda")
    features, _, attributes = read_features(path)
    assert attributes["precision"] == "float16"
    assert cosines(features, expected).min() > 0.999
    _, again = run(single, patches, "resnet50", name="again.h5", device="cuda", precision="float32")
    assert cosines(read_features(again)[0], expected).min() > 0.9999
