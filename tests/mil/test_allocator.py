"""Freed memory stays with the process, seen in the pages that the system hands out."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from mil.training.allocator import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        tensors = [torch.ones(1 << 20) for _ in range(20)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages()
given_back = pages()
keep_freed_memory()
pages()
print(given_back, pages())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_the_next_step_takes_the_pages_of_the_last():
    """Five times 80 MiB are 102,400 pages, if each comes anew.

    So it is to begin with: whether the library itself keeps some hangs on what else is on the heap.
    """
    low = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    made = subprocess.run(
        [sys.executable, "-c", STEPS],
        env={**os.environ, **low},
        check=True,
        capture_output=True,
        text=True,
    )
    given_back, kept = map(int, made.stdout.split())
    assert given_back > 100_000
    assert kept < 1000
