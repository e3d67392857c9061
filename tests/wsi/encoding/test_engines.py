"""Both ways of encoding give the same features, on however many workers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from wsi.encoding.batches import encode_in_batches
from wsi.encoding.in_hand import SlideTask
from wsi.encoding.network import Network
from wsi.encoding.patch_reader import PatchReader
from wsi.encoding.threads import encode_in_threads
from wsi.perturbation import Perturbation
from wsi.storage import Outcome, read_h5, write_h5

CPU = torch.device("cpu")


def in_threads(tasks, network, workers):
    return {s.task.slide_id: s for s in encode_in_threads(tasks, network, workers)}


def in_batches(tasks, network, workers):
    return {s.task.slide_id: s for s in encode_in_batches(tasks, network, workers, 64)}


@pytest.fixture(scope="module")
def expected(cohort):
    """Mean colours worked out from the pixels, slide by slide."""
    result = {}
    for task in cohort:
        reader = PatchReader.open(task.slide, task.patches)
        blocks = [reader.block(start)[0] for start in range(0, len(reader.coords), 16)]
        result[task.slide_id] = np.concatenate(blocks).mean(axis=(1, 2)) / 255
        reader.close()
    return result


@pytest.mark.parametrize(
    ("encode", "workers", "batch"),
    [
        (in_threads, 1, 16),
        (in_threads, 4, 16),
        (in_threads, 3, 48),
        (in_threads, 2, 5),
        (in_batches, 1, 16),
        (in_batches, 1, 96),  # batches that end one slide and begin the next
        (in_batches, 3, 80),
        (in_batches, 2, 1024),  # one batch, mostly padding
    ],
)
def test_every_slide_gets_its_own_rows(cohort, expected, tiny, encode, workers, batch):
    found = encode(cohort, Network(str(tiny), CPU, batch), workers)
    assert sorted(found) == sorted(expected)
    for name, slide in found.items():
        assert slide.error is None
        np.testing.assert_allclose(slide.features, expected[name], atol=0.6 / 255)
        assert slide.speed.patches == slide.total == len(expected[name])
        assert slide.speed.seconds > 0


def test_both_ways_change_the_pixels_alike(cohort, expected, tiny):
    tasks = [replace(task, perturbation=Perturbation("hed", "light", 1)) for task in cohort]
    network = Network(str(tiny), CPU, 48)
    threads, batches = (encode(tasks, network, 2) for encode in (in_threads, in_batches))
    assert sorted(threads) == sorted(expected)
    for name, slide in threads.items():
        np.testing.assert_allclose(slide.features, batches[name].features, atol=1e-6)
        assert np.abs(slide.features - expected[name]).max() > 0.02


@pytest.mark.parametrize("encode", [in_threads, in_batches])
def test_the_number_of_workers_changes_no_bit(cohort, random_resnet50, encode):
    """A real network this time, whose sums could come in another order."""
    few = [cohort[0], cohort[2]]
    one = encode(few, Network(str(random_resnet50), CPU), 1)
    four = encode(few, Network(str(random_resnet50), CPU), 4)
    for name in one:
        np.testing.assert_array_equal(one[name].features, four[name].features)


@pytest.mark.parametrize("encode", [in_threads, in_batches])
def test_the_slides_before_change_no_bit(cohort, random_resnet50, encode):
    """What a resumed job does: the same slide, elsewhere in the batches."""
    together = encode([cohort[0], cohort[2]], Network(str(random_resnet50), CPU, 32), 1)
    alone = encode([cohort[2]], Network(str(random_resnet50), CPU, 32), 1)
    np.testing.assert_array_equal(together["S2"].features, alone["S2"].features)


@pytest.mark.parametrize("encode", [in_threads, in_batches])
def test_a_slide_that_cannot_be_opened_costs_only_itself(cohort, expected, tiny, encode):
    gone = SlideTask("gone", "/nowhere/gone.tiff", cohort[1].patches)
    found = encode([cohort[0], gone, cohort[2]], Network(str(tiny), CPU, 32), 2)
    assert found["gone"].error.kind == "unreadable"
    assert "/nowhere/gone.tiff" in str(found["gone"].error)
    for name in ("S0", "S2"):
        np.testing.assert_allclose(found[name].features, expected[name], atol=0.6 / 255)


@pytest.mark.parametrize("encode", [in_threads, in_batches])
def test_an_error_in_the_network_is_not_lost(cohort, tiny, encode, monkeypatch):
    network = Network(str(tiny), CPU)

    def fail(patches):
        raise ZeroDivisionError("made for the test")

    monkeypatch.setattr(network, "_features", fail)
    with pytest.raises(ZeroDivisionError, match="made for the test"):
        encode(cohort, network, 2)


def test_unreadable_patches_are_counted_whoever_reads(
    make_slide, noise, tiny, damage_tile, tmp_path
):
    from tests.wsi.encoding.conftest import lay

    task = lay(tmp_path, "D", noise(1024, 2048, seed=5), make_slide)
    damage_tile(task.slide, level=1, number=0)
    network = Network(str(tiny), CPU)
    expected = in_threads([task], network, 1)["D"].unreadable
    assert expected > 0
    assert in_threads([task], network, 3)["D"].unreadable == expected
    assert in_batches([task], network, 2)["D"].unreadable == expected


def test_a_killed_reader_means_try_again(cohort, tiny, monkeypatch):
    from wsi.commandline import TryAgainError
    from wsi.encoding import batches

    def killed(*arguments):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Segmentation fault.")

    monkeypatch.setattr(batches.DataLoader, "__iter__", lambda self: map(killed, [1]))
    with pytest.raises(TryAgainError, match="was killed: DataLoader worker"):
        in_batches(cohort, Network(str(tiny), CPU), 1)


def test_an_error_in_a_reader_is_not_taken_for_its_death(cohort, tiny, monkeypatch):
    from wsi.encoding import batches

    def wrong(*arguments):
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.")

    monkeypatch.setattr(batches.DataLoader, "__iter__", lambda self: map(wrong, [1]))
    with pytest.raises(RuntimeError, match="Caught RuntimeError"):
        in_batches(cohort, Network(str(tiny), CPU), 1)


@pytest.mark.parametrize("encode", [in_threads, in_batches])
def test_a_slide_without_patches_fails_and_holds_up_none(cohort, tiny, expected, encode, tmp_path):
    arrays, attributes = read_h5(cohort[0].patches)
    path = tmp_path / "none.h5"
    write_h5(path, Outcome("none", "make_patches"), {"coords": arrays["coords"][:0]}, attributes)
    none = SlideTask("none", cohort[0].slide, str(path))
    found = encode([none, cohort[2], none], Network(str(tiny), CPU, 32), 2)
    assert "holds no patch" in str(found["none"].error)
    np.testing.assert_allclose(found["S2"].features, expected["S2"], atol=0.6 / 255)


READ_FOR_EVER = """
import sys, time, torch
from wsi.encoding.batches import encode_in_batches
from wsi.encoding.in_hand import SlideTask

class Slow:
    batch, device = 16, torch.device("cpu")
    def __call__(self, patches):
        print("encoding", flush=True)
        time.sleep(60)

if __name__ == "__main__":
    list(encode_in_batches([SlideTask("S", *sys.argv[1:])], Slow(), 2, 64))
"""


def test_readers_end_with_a_killed_job(cohort, tmp_path):
    import subprocess
    import sys

    import psutil

    script = tmp_path / "job.py"
    script.write_text(READ_FOR_EVER)
    command = [sys.executable, str(script), cohort[1].slide, cohort[1].patches]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "encoding\n"
    others = psutil.Process(job.pid).children(recursive=True)
    assert len(others) >= 3  # two readers and what starts them
    job.kill()
    job.wait()
    _, alive = psutil.wait_procs(others, timeout=20)
    assert alive == []


def test_little_shared_memory_means_fewer_readers_and_a_sentence(
    cohort, tiny, expected, monkeypatch, caplog
):
    import shutil

    from wsi.encoding import batches

    usage = shutil.disk_usage("/")._replace(free=10_000)
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda path: usage)
    found = in_batches(cohort, Network(str(tiny), CPU), 4)
    assert "/dev/shm has room for 0 of 4 readers" in caplog.text
    np.testing.assert_allclose(found["S1"].features, expected["S1"], atol=0.6 / 255)


class HalfIsWrong(nn.Module):
    def forward(self, x):
        off = 0 if x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") else 1
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)) * 0 + off], dim=1)


@pytest.mark.parametrize(("wrong", "expected"), [(False, "float16"), (True, "float32")])
def test_half_precision_is_used_only_where_it_agrees(tiny, monkeypatch, caplog, wrong, expected):
    network = Network(str(tiny), CPU)
    monkeypatch.setattr(network, "device", torch.device("cpu"))
    network.encoder = network.encoder.__class__(**{**vars(network.encoder), "half": "float16"})
    if wrong:
        network._network = HalfIsWrong()
    sample = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    network._agree_on_half(sample)
    assert str(network.dtype) == f"torch.{expected}"
    assert ("differs from float32" in caplog.text) == wrong


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_features(cohort, random_resnet50):
    plain, compiled = (Network(str(random_resnet50), CPU) for _ in range(2))
    compiled._compile()
    assert compiled._network is not plain._network
    expected = in_threads(cohort[:1], plain, 1)["S0"].features
    found = in_batches(cohort[:1], compiled, 1)["S0"].features
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_network_that_cannot_be_compiled_runs_as_it_is(tiny, monkeypatch, caplog):
    def broken(network, **settings):
        def fail(x):
            raise RuntimeError("no compiler on this machine")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    network = Network(str(tiny), CPU)
    network._compile()
    assert "not compiled (RuntimeError): no compiler on this machine" in caplog.text
    assert network(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("device", "patches", "compiled"),
    [("cuda", 10**6, True), ("cuda", 100, False), ("cpu", 10**6, False)],
)
def test_compiling_is_for_many_patches_on_a_gpu(tiny, monkeypatch, device, patches, compiled):
    network = Network(str(tiny), CPU)
    network.device = SimpleNamespace(type=device)
    calls = []
    monkeypatch.setattr(network, "_compile", lambda: calls.append(1))
    network.compile(lambda: patches)
    assert bool(calls) == compiled
