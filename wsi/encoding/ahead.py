"""Slides that a job encodes beside its own, so that one process serves many.

Starting a process, loading an encoder and warming up a GPU take longer than encoding a small slide.
So a job that has a GPU goes on with other slides whose patches are ready and lays their features in
a folder, ``ahead/``; the job of each such slide finds them there and only moves them. Every slide
keeps its own job, and what re-runs it. What is there counts only if it was made from what the job
would make it from: a seal beside it, written last and removed first, says from what.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from wsi.encoding.in_hand import SlideTask
from wsi.storage import read_attributes, read_outcome, sha256_file

log = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # disks that know none


class Ahead:
    """The folder of features that wait for the job of their slide.

    A context: what it has claimed is released at its end, however that comes.

    Parameters
    ----------
    features : folder of the finished features.
    made_by : returns what decides the features beside slide and patches; called when needed.
    """

    def __init__(self, features: Path, made_by: Callable[[], dict[str, str]]):
        self.features, self.folder = features, features / "ahead"
        self.made_by = cache(lambda: _digest(made_by()))
        self._claims: dict[str, tuple[int | None, str]] = {}  # by slide: open file, origin

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        for slide_id in list(self._claims):
            self._release(slide_id)

    def path(self, task: SlideTask) -> Path:
        """Return where a slide's features wait."""
        return self.folder / f"{task.slide_id}.h5"

    def unseal(self, task: SlideTask) -> None:
        """Say that the features of a claimed slide are about to be written."""
        self._seal(task.slide_id).unlink(missing_ok=True)

    def seal(self, task: SlideTask) -> None:
        """Say that the features of a claimed slide, just written, are whole."""
        self._seal(task.slide_id).write_text(self._claims[task.slide_id][1])

    def take(self, task: SlideTask, to: str | Path) -> bool:
        """Move a slide's features to where they belong, if they wait and still hold."""
        if not self._waits(task):
            return False
        self.unseal(task)
        os.utime(self.path(task))  # newer than what they came from, whatever was touched since
        os.replace(self.path(task), to)
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
            with suppress(FileNotFoundError):  # its patches are just being made anew
                if not self.is_wanted(task) or not self.claim(task):
                    continue
                if self.is_wanted(task):  # still: its own job may have come in between
                    left -= 1
                    yield task
                else:
                    self.release(task)

    def is_wanted(self, task: SlideTask) -> bool:
        """Whether a slide's patches are ready and its features are not, or are outdated."""
        patches, finished = Path(task.patches), self.features / f"{task.slide_id}.h5"
        if not patches.is_file():
            return False
        if finished.is_file() and finished.stat().st_mtime >= patches.stat().st_mtime:
            made_by = read_attributes(finished).get("made_by")
            if made_by in (None, self.made_by()):  # None: a failed one, or made elsewhere
                return False
        return read_outcome(patches).ok and not self._waits(task)

    def claim(self, task: SlideTask, wait: bool = False) -> bool:
        """Keep other jobs from encoding a slide until it is released, or this process ends.

        Returns
        -------
        False if another job is at it. With `wait`, it is waited for.
        """
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(self._claim(task.slide_id), os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:  # another job has just dropped the empty folder
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                is_mine = os.fstat(file).st_nlink > 0  # else it was released and removed just now
                origin = self._origin(task) if is_mine else ""
            except BlockingIOError:
                os.close(file)
                return False
            except OSError as error:
                os.close(file)
                if error.errno not in NO_LOCKS:
                    raise
                log.warning("%s knows no locks: jobs may encode a slide twice.", self.folder)
                file, is_mine, origin = None, True, self._origin(task)
            if is_mine:
                self._claims[task.slide_id] = file, origin
                return True
            os.close(file)

    def release(self, task: SlideTask) -> None:
        """Let others at a slide."""
        self._release(task.slide_id)

    def clear(self, task: SlideTask) -> None:
        """Remove what waits of a slide that has just been encoded by its own job."""
        self.unseal(task)
        self.path(task).unlink(missing_ok=True)

    def _release(self, slide_id: str) -> None:
        if slide_id in self._claims:
            file, _ = self._claims.pop(slide_id)
            self._claim(slide_id).unlink(missing_ok=True)
            if file is not None:
                os.close(file)
        self._drop_if_empty()

    def _waits(self, task: SlideTask) -> bool:
        try:
            sealed = self._seal(task.slide_id).read_text()
        except FileNotFoundError:
            return False
        return self.path(task).is_file() and sealed == self._origin(task)

    def _origin(self, task: SlideTask) -> str:
        """Return a digest of all that a slide's features come from."""
        slide = os.stat(task.slide) if os.path.exists(task.slide) else None
        origin = {
            "made_by": self.made_by(),
            "slide": slide and [slide.st_size, slide.st_mtime_ns],
            "patches": sha256_file(task.patches),
        }
        return _digest(origin)

    def _seal(self, slide_id: str) -> Path:
        return self.folder / f"{slide_id}.origin"

    def _claim(self, slide_id: str) -> Path:
        return self.folder / f"{slide_id}.claim"

    def _drop_if_empty(self) -> None:
        with suppress(OSError):  # it is not empty, or another job has dropped it
            self.folder.rmdir()


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
