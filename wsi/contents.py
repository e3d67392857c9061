"""Whether a file that the user gave still has the content it had, whatever its time and place."""

import csv
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsi.fingerprint import content_digest

READERS = 16  # files read side by side: a network disk answers late, not slowly

_Stat = tuple[int, int]  # size and time of change in ns


class Contents:
    """What files held when they were last looked at.

    A file whose size and time are those of the record is not opened. Of any other, three MiB are
    read (:func:`wsi.fingerprint.content_digest`): a file that was touched, or copied anew, has the
    digest that it had. The record may be deleted at any time: files are then read once more.

    Parameters
    ----------
    record : CSV ``path,size,mtime_ns,content``, one line appended for each look; the last counts.
    """

    def __init__(self, record: str | Path) -> None:
        self.record = Path(record)
        self._looks: dict[str, tuple[_Stat, str]] = {}
        self._current: dict[str, str] = {}  # looked at by this process, which need not ask again
        if self.record.exists():
            with open(self.record, newline="") as file:
                for row in csv.reader(file):
                    if len(row) == 4 and row[1].isdigit() and row[2].isdigit():  # not cut short
                        self._looks[row[0]] = (int(row[1]), int(row[2])), row[3]

    def known(self, path: str) -> str:
        """Return the digest of a file without reading it; empty where that is not known."""
        if path not in self._current:
            stat, content = self._looks.get(path, (None, ""))
            if stat is None or _stat(path) not in (stat, None):
                return ""
            self._current[path] = content
        return self._current[path]

    def of(self, path: str) -> str:
        """Return the digest of a file, read where need be.

        Of a file that is gone or cannot be read, the one that it had: what was made of it stays.
        Empty where it had none; the file's own job says what is wrong with it.
        """
        self.read([path])
        return self._current.get(path) or self._looks.get(path, (None, ""))[1]

    def read(self, paths: Iterable[str]) -> None:
        """Look at those files of `paths` whose content is not known, side by side."""
        unknown = [path for path in dict.fromkeys(paths) if not self.known(path)]
        stats = {path: stat for path in unknown if (stat := _stat(path))}
        if not stats:
            return
        self.record.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(READERS) as readers, open(self.record, "a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for path, content in zip(stats, readers.map(_digest, stats), strict=True):
                if content:
                    self._current[path] = content
                    writer.writerow([path, *stats[path], content])


def rows_digest(rows: Iterable[object]) -> str:
    """Return 16 hexadecimal digits that change with what a job uses of a table.

    Parameters
    ----------
    rows : plain tuples or dataclasses, in the order of the table.
    """
    return hashlib.sha256(repr(list(rows)).encode()).hexdigest()[:16]


def _stat(path: str) -> _Stat | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _digest(path: str) -> str:
    try:
        return content_digest(path)
    except OSError:  # a folder, no permission, a network disk that dropped
        return ""
