"""Every job has a GPU of its own."""

import subprocess
import sys

import pytest
import torch

from wsi.encoding import device
from wsi.encoding.device import one_device

HOLD = """
import sys
from wsi.encoding.device import _first_free

with _first_free(sys.argv[1:]) as position:
    print(position, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """A function that starts a job, which takes a GPU until it is told to end or is killed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    jobs = []

    def hold(*names):
        command = [sys.executable, "-c", HOLD, *names]
        pipe = subprocess.PIPE
        jobs.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return jobs[-1]

    yield hold
    for job in jobs:
        job.kill()
        job.wait()


def test_jobs_take_different_gpus_and_wait_when_all_are_taken(hold):
    first, second = hold("a", "b"), hold("a", "b")
    taken = {first.stdout.readline().strip(), second.stdout.readline().strip()}
    assert taken == {"0", "1"}
    third = hold("a", "b")
    first.kill()  # a killed job leaves its GPU, too
    assert third.stdout.readline().strip() in {"0", "1"}
    second.stdin.write("\n")
    second.stdin.flush()
    assert second.wait(timeout=20) == 0


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for wanted in ("auto", "cpu"):
        with one_device(wanted) as found:
            assert found == torch.device("cpu")
    with pytest.raises(ValueError, match="device: cuda:1, but PyTorch finds no GPU; say auto or"):
        with one_device("cuda:1"):
            pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_named_the_same_for_every_process():
    with one_device("auto") as found:
        assert found.type == "cuda"
        assert device._name(found.index) == str(torch.cuda.get_device_properties(found).uuid)
