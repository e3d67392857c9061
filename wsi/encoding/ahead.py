"""Slides that a job encodes beside its own, so that one process serves many.

Starting a process, loading an encoder and warming up a GPU take longer than encoding a small slide.
So a job that has a GPU goes on with other slides whose patches are ready and lays their features in
a folder, ``ahead/``; the job of each such slide finds them there and only moves them. Every slide
keeps its own job, and what re-runs it. What is there counts only if it was made from what the job
would make it from.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from wsi.encoding.in_hand import SlideTask
from wsi.storage import read_outcome, sha256_file


class Ahead:
    """The folder of features that wait for the job of their slide.

    Parameters
    ----------
    features : folder of the finished features.
    made_by : returns what decides the features beside slide and patches; called when needed.
    """

    def __init__(self, features: Path, made_by: Callable[[], dict[str, str]]):
        self.features, self.folder = features, features / "ahead"
        self._made_by = cache(made_by)
        self._claims: dict[str, tuple[int, str]] = {}  # by slide: open file, origin

    def path(self, task: SlideTask) -> Path:
        """Return where a slide's features wait."""
        return self.folder / f"{task.slide_id}.h5"

    def seal(self, task: SlideTask) -> None:
        """Say that the features of a claimed slide, just written, are whole."""
        self._seal(task).write_text(self._claims[task.slide_id][1])

    def take(self, task: SlideTask, to: str | Path) -> bool:
        """Move a slide's features to where they belong, if they wait and still hold."""
        if not self._holds(task):
            return False
        os.utime(self.path(task))  # newer than what they came from, whatever was touched since
        os.replace(self.path(task), to)
        self._seal(task).unlink()
        self._drop_if_empty()
        return True

    def others(self, tasks: Iterable[SlideTask], most: int) -> Iterator[SlideTask]:
        """Claim and yield slides that can be encoded and that nobody has encoded, at most `most`.

        A slide is looked at when its turn comes: its patches may be ready by then.
        """
        left = most
        for task in tasks:
            if not left:
                return
            if self.is_wanted(task) and self.claim(task):
                left -= 1
                yield task

    def is_wanted(self, task: SlideTask) -> bool:
        """Whether a slide's patches are ready and its features are not, or are older."""
        patches = Path(task.patches)
        if not patches.is_file() or not read_outcome(patches).ok or self._holds(task):
            return False
        finished = self.features / f"{task.slide_id}.h5"
        return not finished.is_file() or finished.stat().st_mtime < patches.stat().st_mtime

    def claim(self, task: SlideTask, wait: bool = False) -> bool:
        """Keep other jobs from encoding a slide until it is released, or this process ends.

        Returns
        -------
        False if another job is at it. With `wait`, it is waited for.
        """
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(self._claim(task), os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:  # another job has just dropped the empty folder
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(file)
                return False
            if os.fstat(file).st_nlink:
                self._claims[task.slide_id] = file, self._origin(task)
                return True
            os.close(file)  # whoever had it has just released it and removed the file

    def release(self, task: SlideTask) -> None:
        """Let others at a slide."""
        if task.slide_id in self._claims:
            file, _ = self._claims.pop(task.slide_id)
            self._claim(task).unlink(missing_ok=True)
            os.close(file)
        self._drop_if_empty()

    def _holds(self, task: SlideTask) -> bool:
        seal = self._seal(task)
        return (
            self.path(task).is_file() and seal.is_file() and seal.read_text() == self._origin(task)
        )

    def _origin(self, task: SlideTask) -> str:
        """Return a digest of all that a slide's features come from."""
        slide = os.stat(task.slide) if os.path.exists(task.slide) else None
        origin = {
            **self._made_by(),
            "slide": slide and [slide.st_size, slide.st_mtime_ns],
            "patches": sha256_file(task.patches),
        }
        return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest() + "\n"

    def _seal(self, task: SlideTask) -> Path:
        return self.folder / f"{task.slide_id}.origin"

    def _claim(self, task: SlideTask) -> Path:
        return self.folder / f"{task.slide_id}.claim"

    def _drop_if_empty(self) -> None:
        with suppress(OSError):  # it is not empty, or another job has dropped it
            self.folder.rmdir()
