"""Same inputs, same bytes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(device: torch.device, seed: int) -> Iterator[None]:
    """Compute deterministically with PyTorch's global generator seeded; put everything back after.

    On a CPU one thread only: sums over several threads depend on their number. On a GPU what has no
    deterministic form is a warning.
    """
    # cuBLAS reads it when CUDA starts; without it deterministic mode refuses matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    gpus = []
    if device.type == "cuda":
        gpus = [torch.cuda.current_device() if device.index is None else device.index]
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=bool(gpus))
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, nothing reads it
        with torch.random.fork_rng(gpus):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.utils.deterministic.fill_uninitialized_memory = fill
