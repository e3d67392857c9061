"""Telling whether two files are the same, without reading either to its end."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

MIB = 2**20  # bytes hashed at each place


def fingerprint(path: str | Path, properties: Mapping[str, str]) -> str:
    """Return what identifies a slide, with the name of the method in front.

    OpenSlide's quickhash-1 where the format has it. It covers the properties of the scan and the
    pixels of the smallest level (for MIRAX the index of its folder), not the name nor the whole of
    the file: two files that share it are copies of one scan, even where one of them was cut off or
    had its label removed. It says nothing of damage, so a copy of another size is worth a look.

    Otherwise the SHA-256 of the file's size and of its first and last MiB. This tells of copies of
    the file only: the same scan saved again has another one.

    Parameters
    ----------
    path : the slide's file.
    properties : of the slide, by OpenSlide's names.
    """
    quickhash = properties.get("openslide.quickhash-1")
    if quickhash:
        return f"quickhash-1:{quickhash}"
    size = Path(path).stat().st_size
    return f"ends:{_sha256(path, size, [0, max(MIB, size - MIB)])}"


def content_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's size and of its first, middle and last MiB, in hexadecimal.

    Of a file of up to three MiB this covers every byte. In a larger one a change elsewhere that
    keeps the size is not seen.
    """
    size = Path(path).stat().st_size
    starts = [0, max(MIB, (size - MIB) // 2), max(2 * MIB, size - MIB)]
    return _sha256(path, size, starts)


def _sha256(path: str | Path, size: int, starts: Sequence[int]) -> str:
    digest = hashlib.sha256(f"{size}\n".encode())
    with open(path, "rb") as file:
        for start in starts:  # one behind the end of a short file adds nothing
            file.seek(start)
            digest.update(file.read(MIB))
    return digest.hexdigest()
