"""Features are mapped, not held: memory, open files and reading of a training, on real files."""

import ctypes
import mmap
import os
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from mil.bag_folder import BagFolder
from mil.bag_loader import BagLoader, groups
from mil.bags import BagError
from mil.heads.base import Labels
from mil.network import build_network
from mil.training.step import Stepper, StepRecord
from wsi.storage import Outcome, write_h5

CPU = torch.device("cpu")


def write_slides(root, slides, dtype=np.float32):
    """Write slides, name -> (patient, rows, width), and the cohort table; return its folder."""
    random = np.random.default_rng(0)
    table = []
    for name, (patient, rows, width) in slides.items():
        x = random.standard_normal((rows, width), dtype=np.float32).astype(dtype)
        path = root / f"features/{name}.h5"
        arrays = {"features": x, "coords": np.zeros((rows, 2), np.int64)}
        write_h5(path, Outcome(name, "extract_features"), arrays, {"sha256": name})
        table.append(
            {
                **{"slide_id": name, "patient_id": patient, "n_patches": rows, "width": width},
                **{"features": f"features/{name}.h5", "features_sha256": name, "regions": "true"},
            }
        )
    pd.DataFrame(table).to_csv(root / "cohort.csv", index=False)
    return BagFolder(root / "cohort.csv", root)


def own_slides(count, rows, width):
    return {f"P{i}": (f"P{i}", rows, width) for i in range(count)}


def status(name):
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def bytes_read():
    """What this process has read by calls, and from disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    found = dict(line.split(": ") for line in lines)
    return int(found["rchar"]), int(found["read_bytes"])


class HighestAnonymous:
    """Highest anonymous memory inside the block, above what there was before it, in bytes."""

    def __enter__(self):
        self.before = self.peak = status("RssAnon")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self):
        while not self.over.wait(0.001):
            self.peak = max(self.peak, status("RssAnon"))

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.grown = self.peak - self.before


def stepper(head, width, **options):
    torch.manual_seed(0)
    fitted = {"t_ref": 9.0, "edges": [0, 4.0, 6.0, float("inf")]}
    options = {"model_options": {"hidden": 8, "out": 8}, "head_options": options}
    network = build_network({"model": "abmil", "head": head, **options}, width, fitted, False)
    return Stepper(
        network,
        network.head.opponent(width),
        learning_rate=1e-4,
        weight_decay=0.0,
        l1=0.0,
        noise=torch.Generator().manual_seed(1),
    )


@pytest.mark.parametrize(
    ("head", "options"), [("nll", {}), ("cox", {}), ("adversarial", {"adversarial_weight": 0.0})]
)
def test_a_step_on_large_patients_holds_no_copy_of_their_features(tmp_path, head, options):
    """Five patients of 38 MB: activations of one patient (eight columns here), and no features."""
    rows, width = 9_280, 1024  # two of them are more than a group may hold
    bags = write_slides(tmp_path, own_slides(5, rows, width))
    learn = stepper(head, width, **options)
    labels = Labels.of(np.arange(1.0, 6.0), np.ones(5))
    one = BagLoader(bags, ["P0"], (), CPU)
    learn.improve_network(one, Labels.of([3.0], [1]), StepRecord())  # libraries warm up
    window = BagLoader(bags, [f"P{i}" for i in range(5)], (), CPU)
    assert len(window) == 5
    with HighestAnonymous() as memory:
        learn.step(window, labels)
    assert memory.grown < 0.5 * rows * width * 4


def test_memory_of_a_step_follows_its_largest_patient_not_their_number(tmp_path):
    """Half precision is widened patient by patient: about one patient's float32, never all."""
    rows, width = 9_280, 1024
    bags = write_slides(tmp_path, own_slides(5, rows, width), np.float16)
    learn = stepper("adversarial", width)
    labels = Labels.of(np.arange(1.0, 6.0), np.ones(5))
    names = [f"P{i}" for i in range(5)]
    learn.step(BagLoader(bags, names[:1], (), CPU), Labels.of([3.0], [1]))
    with HighestAnonymous() as memory:
        learn.step(BagLoader(bags, names, (), CPU), labels)
    # one patient is widened while the last is still there, plus the discriminator's 128 columns
    assert memory.grown < (2 * width + 8 * 128) * rows * 4


def test_a_second_pass_reads_no_feature_file(tmp_path):
    bags = write_slides(tmp_path, own_slides(6, 2_000, 512))  # 24 MB
    names = [f"P{i}" for i in range(6)]

    def all_seen():
        return sum(bag.features.sum().item() for bag in BagLoader(bags, names, (), CPU, rows=1))

    first = all_seen()
    calls, disk = bytes_read()
    assert all_seen() == first
    again = bytes_read()
    assert again[0] - calls < 100_000
    assert again[1] == disk


def test_no_file_and_no_map_stays_open(tmp_path):
    """A map holds a file descriptor: 1,000 slides would pass the usual limit of 1,024."""
    bags = write_slides(tmp_path, own_slides(40, 16, 8))
    before = len(os.listdir("/proc/self/fd"))
    loaded = [bags.load([f"P{i}"]) for i in range(40)]
    assert len(os.listdir("/proc/self/fd")) >= before + 40
    del loaded
    assert len(os.listdir("/proc/self/fd")) == before
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_writing_to_a_bag_changes_neither_the_file_nor_the_next_bag(tmp_path):
    bags = write_slides(tmp_path, own_slides(1, 16, 8))
    content = (tmp_path / "features/P0.h5").read_bytes()
    bag = bags.load(["P0"])
    kept = bag.features.clone()
    bag.features.zero_()
    assert (tmp_path / "features/P0.h5").read_bytes() == content
    assert torch.equal(bags.load(["P0"]).features, kept)


def test_what_cannot_be_mapped_as_it_is_has_the_same_values(tmp_path):
    """Several slides, half precision, chunks, the other byte order, an odd place in the file."""
    slides = {name: ("A", 16, 8) for name in ("plain", "half", "chunked", "swapped", "odd")}
    bags = write_slides(tmp_path, slides)
    expected = {}
    for name, kind in {"half": "<f2", "chunked": "<f4", "swapped": ">f4", "odd": "<f4"}.items():
        path = tmp_path / f"features/{name}.h5"
        with h5py.File(path, "r+") as file:
            x = file["features"][:].astype(kind)
            del file["features"]
            if name == "odd":
                file.create_dataset("pad", data=np.zeros(3, np.uint8))
            file.create_dataset("features", data=x, chunks=(4, 8) if name == "chunked" else None)
            assert (file["features"].id.get_offset() is None) == (name == "chunked")
        expected[name] = x.astype(np.float32)
    with h5py.File(tmp_path / "features/plain.h5") as file:
        expected["plain"] = file["features"][:]

    bag = bags.load(["A"])
    assert bag.features.dtype == torch.float32
    assert torch.equal(
        bag.features, torch.from_numpy(np.concatenate([expected[n] for n in slides]))
    )
    table = pd.read_csv(tmp_path / "cohort.csv")
    table["patient_id"] = table["slide_id"]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    alone = BagFolder(tmp_path / "cohort.csv", tmp_path)
    for name in slides:
        np.testing.assert_array_equal(alone.load([name]).features, expected[name])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_gpu_gets_the_same_values(tmp_path, dtype):
    slides = {"S0": ("A", 48, 8), "S1": ("A", 16, 8), "S2": ("B", 32, 8)}
    bags = write_slides(tmp_path, slides, dtype)
    for patients in (["A"], ["B"], ["B", "A"]):
        moved = bags.load(patients, ("coords",), "cuda")
        here = bags.load(patients, ("coords",))
        assert moved.features.dtype == torch.float32
        for name in ("features", "offsets", "coords"):
            assert getattr(moved, name).is_cuda
            assert torch.equal(getattr(moved, name).cpu(), getattr(here, name))


def test_a_file_replaced_during_training_is_refused(tmp_path):
    bags = write_slides(tmp_path, own_slides(1, 16, 8))
    bags.load(["P0"])
    arrays = {"features": np.ones((16, 8), np.float32), "coords": np.zeros((16, 2), np.int64)}
    write_h5(tmp_path / "features/P0.h5", Outcome("P0", "extract_features"), arrays)
    with pytest.raises(BagError, match=r"P0.h5: its content .* The file changed"):
        bags.load(["P0"])


def test_groups_hold_everybody_once_and_at_most_the_bound():
    for seed in range(20):
        random = np.random.default_rng(seed)
        sizes = random.integers(1, 120, random.integers(1, 30)).tolist()
        parts = groups(sizes, 100)
        assert [i for part in parts for i in range(len(sizes))[part]] == list(range(len(sizes)))
        held = [sum(sizes[part]) for part in parts]
        assert all(
            rows <= 100 or part.stop - part.start == 1
            for rows, part in zip(held, parts, strict=True)
        )
        assert all(a + sizes[part.start] > 100 for a, part in zip(held, parts[1:], strict=False))


def resident(path):
    """Share of a file's pages that are in the page cache."""
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)  # writable, so that ctypes takes it
        count = -(-len(pages) // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * count)()
        start = ctypes.byref(ctypes.c_char.from_buffer(pages))
        assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(len(pages)), found) == 0
        del start
        return sum(page & 1 for page in found) / count


def test_the_next_bag_is_read_ahead(tmp_path):
    bags = write_slides(tmp_path, own_slides(1, 8_000, 512))  # 16 MB, many requests
    path = tmp_path / "features/P0.h5"
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # it was synced when written
    if resident(path) > 0.1:
        pytest.skip("this file system does not let go of cached pages")
    bags.read_ahead(["P0"])
    late = time.monotonic() + 20
    while resident(path) < 0.99 and time.monotonic() < late:
        time.sleep(0.01)
    assert resident(path) > 0.99
