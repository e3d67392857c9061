"""Every file of a run's results, with its size and a hash of what the numbers rest on."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mil.table_writer import write_table

ASIDE = ("logs", "benchmarks", "provenance")
"""Folders that say how it went, not what came out."""

BY_SLIDE = ("tissue", "patches", "features", "graphs", "clusters", "encoders")
"""Folders whose files are too many and too large to be read again: 300 GB for 10,000 slides."""

CHUNK = 1 << 20


@dataclass(frozen=True)
class Listed:
    """A file of the results.

    Attributes
    ----------
    path : relative to the results, with slashes.
    bytes : its size.
    sha256 : of the file; of features, graphs and clusters that of their content, which the cohort
        table recorded; empty for other files of single slides.
    """

    path: str
    bytes: int
    sha256: str


def list_results(root: Path, recorded: Mapping[str, str]) -> list[Listed]:
    """Return the files below ``root``, sorted by path.

    Parameters
    ----------
    root : the results folder.
    recorded : hashes that are known already, by path relative to ``root``.
    """
    return [
        Listed(name, path.stat().st_size, recorded.get(name) or _hash_if_final(path, name))
        for name, path in sorted(_files(root))
    ]


def write_manifest(path: Path, files: list[Listed]) -> None:
    """Write ``path,bytes,sha256``."""
    write_table(
        path, ["path", "bytes", "sha256"], [[file.path, file.bytes, file.sha256] for file in files]
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read by the MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for folder in root.iterdir():
        if folder.is_file():
            yield folder.name, folder
        elif folder.name not in ASIDE:
            for path in folder.rglob("*"):
                if path.is_file():
                    yield path.relative_to(root).as_posix(), path


def _hash_if_final(path: Path, name: str) -> str:
    return "" if name.split("/")[0] in BY_SLIDE else sha256_of(path)
