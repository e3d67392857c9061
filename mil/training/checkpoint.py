"""The file that a killed training goes on from."""

import hashlib
import io
import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wsi.storage import atomic

LEAST_SECONDS = 10.0
"""Between two checkpoints: so much work a killed training may lose, besides the epoch in hand."""
SHARE = 0.02
"""Of the time of a training that goes into checkpoints, at most, however slow the disk is."""

log = logging.getLogger(__name__)


class Checkpoint:
    """State of a training on disk, until the training is done.

    It lies in a folder of its own beside the results and is none of them: Snakemake removes the
    results of a killed job, and leaves this. It counts only for the very training it was written
    by, which a seal tells, and only whole, which its own digest tells.

    Parameters
    ----------
    folder : where it lies; removed with it.
    made_by : all that decides the training, as plain values.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self.seal = _digest(json.dumps(made_by, sort_keys=True).encode())
        self.folder, self.path = folder, folder / "state.pt"
        self.due = time.monotonic() + LEAST_SECONDS

    def load(self) -> dict[str, Any] | None:
        """Return the state to go on from; None, with a word in the log, where there is none."""
        if not self.path.is_file():
            return None
        parts = self.path.read_bytes().split(b"\n", 2)
        seal, digest, content = parts + [b""] * (3 - len(parts))
        if seal.decode(errors="replace") != self.seal:
            log.info(
                "%s is of other settings, data, code or another kind of machine; the training "
                "starts anew.",
                self.path,
            )
            return None
        if digest.decode(errors="replace") != _digest(content):
            log.warning("%s is damaged; the training starts anew.", self.path)
            return None
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state, which then stands for all before it."""
        started = time.monotonic()
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        with atomic(self.path) as partial, open(partial, "wb") as file:
            file.write(f"{self.seal}\n{_digest(content)}\n".encode())
            file.write(content)
        ended = time.monotonic()
        self.due = ended + max(LEAST_SECONDS, (ended - started) / SHARE)

    @property
    def is_due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() >= self.due

    def remove(self) -> None:
        """Remove it, and what a kill in the middle of writing left."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
