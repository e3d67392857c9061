"""Encoding on a GPU: processes read, batches are always full, nothing waits that need not.

Reader processes fill batches of bytes, which travel through pinned memory to the GPU while it works
on the batch before; a batch may end one slide and begin the next, and all have one shape
(specification wsi 6.6).
"""

import logging
import multiprocessing
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wsi.commandline import TryAgainError
from wsi.encoding.in_hand import SlideInHand, SlideTask
from wsi.encoding.network import Network
from wsi.encoding.patch_reader import PatchReader
from wsi.outcome import SlideError
from wsi.scale import CHILDREN

log = logging.getLogger(__name__)

PREFETCH = 2  # batches that each reader is ahead
OPEN = 3  # slides that a reader keeps open
UNDER_WAY = 2  # batches on the GPU at once: one computed, one copied
KILLED = ("exited unexpectedly", "is killed by signal")  # what the loader says of a dead reader
SHARED_MEMORY = "/dev/shm"  # where readers put batches


@dataclass(frozen=True)
class Span:
    """Rows ``start .. stop - 1`` of one slide, whole blocks of 16."""

    number: int  # of the slide in this job
    task: SlideTask
    start: int
    stop: int


@dataclass(frozen=True)
class Batch:
    """What one batch holds: patches of `side` pixels, padded to `rows`."""

    side: int
    rows: int
    spans: tuple[Span, ...]


class PatchBatches(Dataset):
    """Reads batches; used in reader processes, each of which keeps the last slides open."""

    def __init__(self):
        self._open: dict[str, PatchReader] = {}

    def __getitem__(self, batch: Batch) -> tuple[Tensor, list[int | SlideError | OSError]]:
        """Return ``[rows, side, side, 3]`` uint8, and for each span its unreadable patches.

        Errors are values here: the loader would change them on their way to the job.
        """
        cv2.setNumThreads(1)
        patches = torch.zeros(batch.rows, batch.side, batch.side, 3, dtype=torch.uint8)
        filled, notes = 0, []
        for span in batch.spans:
            part = patches[filled : filled + span.stop - span.start].numpy()
            notes.append(self._read(span, part))
            filled += len(part)
        return patches, notes

    def _read(self, span: Span, into: np.ndarray) -> int | SlideError | OSError:
        unreadable = 0
        try:
            reader = self._reader(span.task)
            for start in range(span.start, span.stop, CHILDREN):
                where = start - span.start
                into[where : where + CHILDREN], lost = reader.block(start)
                unreadable += lost
        except (SlideError, OSError) as error:
            return error
        return unreadable

    def _reader(self, task: SlideTask) -> PatchReader:
        if task.slide_id not in self._open:
            if len(self._open) == OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[task.slide_id] = PatchReader.open(task.slide, task.patches, task.change())
        return self._open[task.slide_id]


class _Plan:
    """Cuts slides into batches, just ahead of the readers."""

    def __init__(self, tasks: Iterable[SlideTask], rows: int):
        self.tasks, self.rows = tasks, rows
        self.slides: dict[int, SlideInHand] = {}  # those under way
        self.ordered: deque[Batch] = deque()  # batches that were ordered and not yet received

    def __iter__(self) -> Iterator[Batch]:
        spans, free, side = [], self.rows, 0
        for number, task in enumerate(self.tasks):
            total, patch_side = task.size()
            if spans and patch_side != side:
                yield self._order(side, spans)
                spans, free = [], self.rows
            side = patch_side
            slide = self.slides[number] = SlideInHand(task, total)
            if not total:
                spans.append(Span(number, task, 0, 0))  # so that it is received, and fails
            start = 0
            while start < total and slide.error is None:
                stop = min(total, start + free)
                spans.append(Span(number, task, start, stop))
                start, free = stop, free - (stop - start)
                if not free:
                    yield self._order(side, spans)
                    spans, free = [], self.rows
        if spans:
            yield self._order(side, spans)

    def _order(self, side: int, spans: list[Span]) -> Batch:
        batch = Batch(side, self.rows, tuple(spans))
        self.ordered.append(batch)
        return batch


def encode_in_batches(
    tasks: Iterable[SlideTask], network: Network, readers: int, side: int
) -> Iterator[SlideInHand]:
    """Encode slides and yield each when it is finished or has failed.

    Parameters
    ----------
    tasks : slides; taken as readers come to them.
    network : on any device; made for a GPU.
    readers : processes that read.
    side : of a patch in pixels, which says how much shared memory a batch takes.

    Raises
    ------
    TryAgainError
        A reader was killed.
    """
    rows = max(CHILDREN, network.batch // CHILDREN * CHILDREN)
    plan = _Plan(tasks, rows)
    on_gpu = network.device.type == "cuda"
    loader = DataLoader(
        PatchBatches(),
        batch_size=None,
        sampler=plan,
        pin_memory=on_gpu,
        **_processes(readers, rows * side * side * 3),
    )
    lane = _Lane(network)
    under_way: deque[tuple[Batch, list, _Result, float]] = deque()
    ended = time.monotonic()
    batches = iter(loader)
    more = True
    while more or under_way:
        began = time.monotonic()
        if more:
            patches, notes = _next(batches)
            more = patches is not None
            waited = time.monotonic() - began
            if more:
                under_way.append((plan.ordered.popleft(), notes, lane.start(patches), waited))
                if len(under_way) < UNDER_WAY:
                    continue
        if not under_way:
            break
        batch, notes, result, for_patches = under_way.popleft()
        began = time.monotonic()
        features = result.features()
        now = time.monotonic()
        yield from _scatter(plan, batch, notes, features, (now - ended, for_patches, now - began))
        ended = time.monotonic()


def _next(batches: Iterator) -> tuple[Tensor | None, list]:
    try:
        return next(batches, (None, []))
    except RuntimeError as error:
        if not any(words in str(error) for words in KILLED):
            raise
        raise TryAgainError(f"a process that reads patches was killed: {error}") from error


def _processes(readers: int, batch: int) -> dict:
    """Return how the loader reads: in as many processes as shared memory has room for batches."""
    room = int(shutil.disk_usage(SHARED_MEMORY).free * 0.8 / (batch * (PREFETCH + 1)))
    if room < readers:
        log.warning(
            "%s has room for %d of %d readers, so reading may be slow; start the container with "
            "more (--shm-size=8g), or give a smaller features: batch_size.",
            *(SHARED_MEMORY, room, readers),
        )
    readers = min(readers, room)
    if not readers:
        return {"num_workers": 0}
    # a clean process that starts the readers: a fork would inherit threads and the GPU
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return {
        "num_workers": readers,
        "prefetch_factor": PREFETCH,
        "multiprocessing_context": context,
        "worker_init_fn": _end_with_parent,
    }


def _end_with_parent(_: int) -> None:
    """Let a reader end when the job is killed; the process that started it would live on."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _scatter(
    plan: _Plan,
    batch: Batch,
    notes: list[int | SlideError | OSError],
    features: Tensor,
    times: tuple[float, float, float],
) -> Iterator[SlideInHand]:
    """Give each slide of a batch its rows; yield those that are finished or have failed."""
    used = sum(span.stop - span.start for span in batch.spans)
    first = 0
    for span, note in zip(batch.spans, notes, strict=True):
        count = span.stop - span.start
        slide = plan.slides.get(span.number)
        rows, first = features[first : first + count].numpy(), first + count
        if slide is None:  # it has failed before
            continue
        if isinstance(note, OSError):
            raise note
        if isinstance(note, SlideError):
            slide.error = note
        elif count:
            slide.put(span.start, rows, note)
        shares = (t * count / max(1, used) for t in times)
        if slide.add_time(count, *shares) or slide.error:
            del plan.slides[span.number]
            yield slide


class _Lane:
    """Batches to the device and features back, on a stream beside the one that computes."""

    def __init__(self, network: Network):
        self.network = network
        on_gpu = network.device.type == "cuda"
        self.copying = torch.cuda.Stream(network.device) if on_gpu else None

    def start(self, patches: Tensor) -> "_Result":
        """Begin to encode a batch."""
        if self.copying is None:
            return _Result(self.network(patches))
        computing = torch.cuda.current_stream(self.network.device)
        with torch.cuda.stream(self.copying):
            moved = patches.to(self.network.device, non_blocking=True)
        computing.wait_stream(self.copying)
        moved.record_stream(computing)
        features = self.network(moved)
        back = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
        back.copy_(features, non_blocking=True)
        # `patches` is pinned: it must live until the copy has ended
        return _Result(back, computing.record_event(), patches)


class _Result:
    """Features that may still be on their way."""

    def __init__(self, rows: Tensor, done: torch.cuda.Event | None = None, source=None):
        self._rows, self._done, self._source = rows, done, source

    def features(self) -> Tensor:
        """Wait for them and return ``[rows, D]`` float32 on the CPU."""
        if self._done is not None:
            self._done.synchronize()
        return self._rows
