"""Telling whether two slide files are the same scan, without reading either to its end."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

END = 2**20  # bytes hashed at each end of a file that has no quickhash


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
    return f"quickhash-1:{quickhash}" if quickhash else f"ends:{_sha256_of_ends(Path(path))}"


def _sha256_of_ends(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}\n".encode())
    with open(path, "rb") as file:
        digest.update(file.read(END))
        file.seek(max(END, size - END))  # a short file has nothing behind its first MiB
        digest.update(file.read(END))
    return digest.hexdigest()
