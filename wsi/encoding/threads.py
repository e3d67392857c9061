"""Encoding on a CPU: each thread reads a block of patches, encodes it, and takes the next.

One thread a core does both, so that readers and network never compete, and no thread waits for
another inside an operation: threads of one operation that share busy cores have been seen six times
slower (specification wsi 6.1). How many there are changes no number.
"""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from wsi.encoding.in_hand import SlideInHand, SlideTask
from wsi.encoding.network import Network
from wsi.encoding.patch_reader import PatchReader
from wsi.outcome import SlideError
from wsi.scale import CHILDREN

WAITING = 2  # finished slides that may wait to be written, beside one a thread


def encode_in_threads(
    tasks: Iterable[SlideTask], network: Network, threads: int
) -> Iterator[SlideInHand]:
    """Encode slides on the CPU and yield each when it is finished or has failed.

    Parameters
    ----------
    tasks : slides; the next is taken when all patches of the one before have been handed out.
    network : on the CPU.
    threads : cores to use.
    """
    torch.set_num_threads(1)  # of each thread's operations; threads started from now on follow
    finished: queue.SimpleQueue[SlideInHand | None] = queue.SimpleQueue()
    supply = _Supply(tasks, max(1, network.batch // CHILDREN), finished, threads + WAITING)

    def work() -> None:
        try:
            while (piece := supply.next()) is not None:
                piece.encode(network, threads, finished)
        except BaseException:
            supply.stop()
            raise
        finally:
            finished.put(None)

    with ThreadPoolExecutor(threads) as pool:
        workers = [pool.submit(work) for _ in range(threads)]
        try:
            left = threads
            while left:
                slide = finished.get()
                if slide is None:
                    left -= 1
                else:
                    yield slide
                    supply.finished_one()
        finally:
            supply.stop()
        for worker in workers:
            worker.result()  # raises what went wrong in it


class _Open:
    """A slide in hand with its reader."""

    def __init__(self, task: SlideTask):
        self.reader = PatchReader.open(task.slide, task.patches, task.change())
        self.slide = SlideInHand(task, len(self.reader.coords))
        self.lock = threading.Lock()


class _Piece:
    """Some blocks of a slide, for one thread."""

    def __init__(self, opened: _Open, starts: range):
        self.opened, self.starts = opened, starts

    def encode(self, network: Network, threads: int, finished: queue.SimpleQueue) -> None:
        began = time.monotonic()
        slide, reader = self.opened.slide, self.opened.reader
        blocks = [reader.block(start) for start in self.starts]
        patches = blocks[0][0] if len(blocks) == 1 else np.concatenate([b for b, _ in blocks])
        read = time.monotonic()
        rows = network(torch.from_numpy(patches)).numpy()
        ended = time.monotonic()
        with self.opened.lock:
            slide.put(self.starts[0], rows, sum(unreadable for _, unreadable in blocks))
            seconds = (ended - began) / threads
            done = slide.add_time(len(rows), seconds, read - began, ended - read)
        if done:
            reader.close()
            finished.put(slide)


class _Supply:
    """Hands out the blocks of slide after slide to threads."""

    def __init__(
        self, tasks: Iterable[SlideTask], blocks: int, finished: queue.SimpleQueue, most: int
    ):
        self._lock, self._stopped = threading.Lock(), False
        self._room = threading.Semaphore(most)  # for slides that are open or wait to be written
        self._pieces = self._cut(tasks, blocks * CHILDREN, finished)

    def next(self) -> _Piece | None:
        with self._lock:
            return None if self._stopped else next(self._pieces, None)

    def finished_one(self) -> None:
        self._room.release()

    def stop(self) -> None:
        self._stopped = True
        self._room.release()  # whoever waits for room holds the lock

    def _cut(
        self, tasks: Iterable[SlideTask], rows: int, finished: queue.SimpleQueue
    ) -> Iterator[_Piece]:
        for task in tasks:
            self._room.acquire()
            if self._stopped:
                return
            try:
                opened = _Open(task)
            except SlideError as error:
                failed = SlideInHand(task, 0)
                failed.error = error
                finished.put(failed)
                continue
            total = opened.slide.total
            if not total:
                opened.reader.close()
                finished.put(opened.slide)
            for start in range(0, total, rows):
                yield _Piece(opened, range(start, min(total, start + rows), CHILDREN))
