"""Which device encodes; with several GPUs in a machine, each job has one of its own."""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

log = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two looks for a free GPU


@contextmanager
def one_device(device: str) -> Iterator[torch.device]:
    """Yield the device to encode on; a GPU is this job's alone until the block ends.

    On a cluster the scheduler hands out GPUs (``CUDA_VISIBLE_DEVICES``). On a workstation nobody
    does, so jobs agree by locked files in the folder for temporary files; a job that finds all
    GPUs taken waits. The system drops a lock with the process that holds it, however that ends.

    Parameters
    ----------
    device : ``cpu``, ``cuda`` (any GPU), ``cuda:1`` (that one) or ``auto`` (a GPU if there is one).
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        raise ValueError(f"features: device: {device}, but PyTorch finds no GPU; say auto or cpu.")
    number = torch.device(device).index if device.startswith("cuda") else None
    wanted = range(torch.cuda.device_count()) if number is None else [number]
    with _first_free([_name(index) for index in wanted]) as position:
        index = wanted[position]
        torch.cuda.set_device(index)
        log.info("on GPU %d, %s", index, torch.cuda.get_device_name(index))
        yield torch.device("cuda", index)


def _name(index: int) -> str:
    """Return what names a GPU for every process, whatever each calls its first one."""
    return str(torch.cuda.get_device_properties(index).uuid)


@contextmanager
def _first_free(names: list[str]) -> Iterator[int]:
    """Hold the lock of the first of `names` that is free, and yield its position."""
    folder = Path(tempfile.gettempdir()) / f"slide-survival-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    waiting = False
    while True:
        for position, name in enumerate(names):
            with open(folder / f"gpu-{name}.lock", "w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield position
                return
        if not waiting:
            log.info("waiting for another job to leave a GPU")
            waiting = True
        time.sleep(PAUSE)
