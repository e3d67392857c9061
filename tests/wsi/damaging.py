"""Two hundred damaged files, made from small healthy slides; the same every time."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.wsi.tiff_writing import J2K_RGB, jpeg, jpeg2000, pyramid, tissue, write_tiff

SECTOR = 4096  # bytes that a disk loses at once
PLACES = 20  # at which files are cut off

Damage = Callable[[bytearray, np.random.Generator], bytes]


@dataclass(frozen=True)
class Case:
    """One file: where it is, what was done to it, and the healthy one it was made from."""

    path: Path
    damage: str
    healthy: Path | None = None


def healthy_slides(folder: Path, real: Path) -> dict[str, Path]:
    """Write a small slide of each kind; real ones join where they are present."""
    levels, small = pyramid(tissue(1300, 1500)), pyramid(tissue(800, 1000, seed=1))
    rgb = write_tiff(folder / "aperio.svs", levels, jpeg("RGB", (1, 1)), aperio=True, tile=240)
    found = {
        "jpeg": write_tiff(folder / "jpeg.tiff", levels, jpeg(), photometric="ycbcr"),
        "aperio": rgb,
        "single": write_tiff(folder / "single.tiff", levels[:1], jpeg(), photometric="ycbcr"),
        "deflate": write_tiff(folder / "deflate.tiff", levels, compression="deflate", predictor=2),
        "lzw": write_tiff(folder / "lzw.tiff", levels, compression="lzw"),
        "raw": write_tiff(folder / "raw.tiff", small, compression=None),
        "jpeg2000": write_tiff(
            folder / "jpeg2000.svs", small, jpeg2000(level=35), compression=J2K_RGB, aperio=True
        ),
        "png": folder / "picture.png",
        "picture": folder / "picture.jpg",
    }
    Image.fromarray(small[0]).save(found["png"])
    found["picture"].write_bytes(imagecodecs.jpeg8_encode(small[0], 90))
    names = {"cmu": "CMU-1-Small-Region.svs", "tcga": "TCGA-CR-7395-01A-01-TS1.svs"}
    present = {name: real / "native" / file for name, file in names.items()}
    return found | {name: path for name, path in present.items() if path.exists()}


def one_bit(data: bytearray, rng: np.random.Generator) -> bytes:
    return bits(data, rng, 1)


def bits(data: bytearray, rng: np.random.Generator, number: int = 20) -> bytes:
    for at in rng.integers(0, len(data), number):
        data[at] ^= 1 << rng.integers(8)
    return bytes(data)


def header_bit(data: bytearray, rng: np.random.Generator) -> bytes:
    """Flip a bit of the directories, or of the first bytes of a picture."""
    places = _directories(bytes(data))
    data[rng.choice(places)] ^= 1 << rng.integers(8)
    return bytes(data)


def random_runs(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, len(data) - 64, 3):
        data[at : at + 64] = rng.bytes(64)
    return bytes(data)


def sectors(data: bytearray, rng: np.random.Generator) -> bytes:
    for sector in rng.integers(0, len(data) // SECTOR, 3):
        data[sector * SECTOR : (sector + 1) * SECTOR] = bytes(SECTOR)
    return bytes(data)


def appended(data: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(data) + rng.bytes(10_000)


RANDOM: dict[str, tuple[Damage, int]] = {  # how, and how many files of each slide
    "one bit flipped": (one_bit, 2),
    "20 bits flipped": (bits, 2),
    "3 runs of random bytes": (random_runs, 2),
    "3 sectors zeroed": (sectors, 2),
    "a bit of the header flipped": (header_bit, 3),
    "garbage appended": (appended, 1),
}


def damaged_files(folder: Path, healthy: dict[str, Path]) -> Iterator[Case]:
    """Yield the cases; their files are in `folder` then."""
    rng = np.random.default_rng(0)

    def write(name: str, damage: str, content: bytes, number: int) -> Case:
        source = healthy[name]
        path = folder / f"{name}-{damage.replace(' ', '-')}-{number}{source.suffix}"
        path.write_bytes(content)
        return Case(path, damage, source)

    for name, source in healthy.items():
        content = source.read_bytes()
        places = PLACES if name in ("jpeg", "single") else 4
        for place in range(1, places + 1):
            cut_off = content[: len(content) * place // (places + 1)]
            yield write(name, "cut off", cut_off, place)
            if place % 5 == 1:  # as copies are whose space was reserved first
                whole = cut_off + bytes(len(content) - len(cut_off))
                yield write(name, "end zeroed", whole, place)
        for damage, (spoil, number) in RANDOM.items():
            for i in range(number if name != "tcga" else 1):
                yield write(name, damage, spoil(bytearray(content), rng), i)
    yield from _no_slides(folder, healthy, rng)


def _no_slides(folder: Path, healthy: dict[str, Path], rng: np.random.Generator) -> Iterator[Case]:
    contents = {
        "empty.svs": b"",
        "text.svs": b"not a slide\n" * 50,
        "page.tiff": b"<html><body>404 not found</body></html>",
        "zeros.svs": bytes(100_000),
        "random.tiff": rng.bytes(100_000),
        "magic.tiff": b"II*\0",
        "loop.tiff": b"II*\0\x08\0\0\0"
        + b"\0\0"
        + b"\x08\0\0\0",  # a directory that follows itself
        "archive.svs": b"PK\x03\x04" + rng.bytes(5000),
        "olympus.vsi": b"II*\0" + rng.bytes(5000),
        "mirax.mrxs": healthy["picture"].read_bytes(),
        "magic.png": b"\x89PNG\r\n\x1a\n",
        "magic.jpg": b"\xff\xd8\xff\xe0",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield Case(folder / name, "no slide at all")
    names = (("jpeg", "png"), ("aperio", "jpg"), ("png", "svs"), ("picture", "tiff"))
    for kind, suffix in names:
        path = folder / f"named-otherwise-{kind}.{suffix}"
        path.write_bytes(healthy[kind].read_bytes())
        yield Case(path, "wrong extension", healthy[kind])
    (folder / "folder.svs").mkdir()
    (folder / "broken.svs").symlink_to(folder / "gone.svs")
    (folder / "round.svs").symlink_to(folder / "trip.svs")
    (folder / "trip.svs").symlink_to(folder / "round.svs")
    os.mkfifo(folder / "pipe.svs")
    (folder / "device.svs").symlink_to("/dev/zero")
    (folder / "below.svs").symlink_to(folder / "text.svs" / "below.svs")
    for name in ("folder", "broken", "round", "pipe", "device", "below", "missing"):
        yield Case(folder / f"{name}.svs", "no file")


def _directories(data: bytes) -> np.ndarray:
    """Return the places of a TIFF's directories in it; of other files, the first hundred bytes."""
    if not data.startswith((b"II", b"MM")):
        return np.arange(100)
    with tifffile.TiffFile(tifffile.FileHandle(_Bytes(data))) as file:
        spans = [(page.offset, page.offset + 2 + 12 * len(page.tags) + 4) for page in file.pages]
    return np.concatenate([np.arange(8), *(np.arange(*span) for span in spans)])


def _Bytes(data: bytes):
    import io

    return io.BytesIO(data)
