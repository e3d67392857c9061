"""Tiled TIFFs written tile by tile, each way that slides are stored; with known pixels."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile

APERIO = "Aperio Image Library v12.0.15 \r\n{w}x{h} [0,0 {w}x{h}] (240x240)|AppMag = 40|MPP = 0.25"
JPEG, J2K_YCBCR, J2K_RGB, J2K = 7, 33003, 33005, 34712
DQT, DHT = 0xDB, 0xC4  # segments that JPEGTables hold for all tiles
APP0, APP14 = 0xE0, 0xEE
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

Encode = Callable[[np.ndarray], bytes]


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a picture like stained tissue, rough and smooth places, no two alike."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), (222.0, 160.0, 200.0), np.float32)
    for cell, depth in ((64, 22), (16, 22), (6, 12)):
        rough = rng.standard_normal((height // cell + 3, width // cell + 3)).astype(np.float32)
        smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        picture -= smooth[..., None] * np.array((1.0, 1.2, 0.7), np.float32) * depth
    for x, y in (rng.random((height * width // 900, 2)) * (width, height)).astype(int).tolist():
        cv2.circle(picture, (x, y), int(rng.integers(4, 9)), (110.0, 70.0, 140.0), -1, cv2.LINE_AA)
    picture += rng.standard_normal(picture.shape).astype(np.float32) * 3
    return picture.clip(0, 255).astype(np.uint8)


def pyramid(rgb: np.ndarray, downsamples: Sequence[int] = (4, 16)) -> list[np.ndarray]:
    """Return a picture and its area means; sizes are rounded down, as scanners do."""
    height, width = rgb.shape[:2]
    sizes = [(width // factor, height // factor) for factor in downsamples]
    return [rgb, *(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) for size in sizes)]


def write_tiff(
    path: Path,
    levels: Sequence[np.ndarray],
    encode: Encode | None = None,
    *,
    compression: int | str = JPEG,
    photometric: str = "rgb",
    tile: int = 256,
    aperio: bool = False,
    bigtiff: bool = False,
    byteorder: str = "<",
    subifds: bool = False,
    empty: Sequence[tuple[int, int]] = (),
    **options: object,
) -> Path:
    """Write levels as a tiled TIFF; `encode` makes the bytes of a tile, else tifffile does.

    `empty` names level and number of tiles that are left out (no bytes). `subifds` puts the reduced
    levels below the first directory.
    """
    height, width = levels[0].shape[:2]
    if compression == JPEG and photometric == "rgb":  # or tifffile would call it YCbCr
        options = {"compressionargs": {"outcolorspace": "rgb"}} | options
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        for number, image in enumerate(levels):
            per_cm = 40_000 * image.shape[1] / width
            tiles = cut(image, tile)
            if encode:
                data = (encode(part) if (number, i) not in empty else b"" for i, part in tiles)
            file.write(
                data if encode else image,
                shape=image.shape,
                dtype=image.dtype,
                tile=(tile, tile),
                photometric=photometric,
                compression=compression,
                subfiletype=int(number > 0),
                description=APERIO.format(w=width, h=height) if aperio else None,
                software="",
                metadata=None,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subifds=len(levels) - 1 if subifds and number == 0 else None,
                **options,
            )
    return path


def cut(image: np.ndarray, tile: int) -> list[tuple[int, np.ndarray]]:
    """Return the storage tiles of a picture, numbered row by row, the last ones filled up."""
    height, width = image.shape[:2]
    fill = ((0, -height % tile), (0, -width % tile), (0, 0))
    image = np.pad(image, fill, mode="edge")
    places = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    return [
        (i, np.ascontiguousarray(image[y : y + tile, x : x + tile]))
        for i, (y, x) in enumerate(places)
    ]


def jpeg(colour: str = "YCBCR", subsampling: tuple[int, int] = (2, 2), level: int = 90) -> Encode:
    """Return an encoder whose JPEGs say nothing of their colours: that is for the TIFF to do."""

    def encode(tile: np.ndarray) -> bytes:
        data = imagecodecs.jpeg8_encode(
            tile, level, colorspace="RGB", outcolorspace=colour, subsampling=subsampling
        )
        kept = [segment for kind, segment in _segments(data) if kind not in (APP0, APP14)]
        return b"\xff\xd8" + b"".join(kept)

    return encode


def with_jfif(encode: Encode) -> Encode:
    """Let each JPEG begin with a marker by which libjpeg would take it for YCbCr."""
    return lambda tile: b"\xff\xd8" + JFIF + encode(tile)[2:]


def abbreviated(encode: Encode) -> tuple[Encode, bytes]:
    """Return an encoder of JPEGs without tables, and the tables."""
    sample = encode(np.zeros((16, 16, 3), np.uint8))
    tables = b"".join(part for kind, part in _segments(sample) if kind in (DQT, DHT))

    def short(tile: np.ndarray) -> bytes:
        kept = [part for kind, part in _segments(encode(tile)) if kind not in (DQT, DHT)]
        return b"\xff\xd8" + b"".join(kept)

    return short, b"\xff\xd8" + tables + b"\xff\xd9"


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """Return kind and bytes of each segment of a JPEG; the last is the scan to the end."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], data[at:end]))
        at = end
    return [*found, (0xDA, data[at:])]


def jpeg2000(planes: str = "RGB", level: int = 0) -> Encode:
    """Return an encoder of JPEG 2000 codestreams; planes that are YCbCr have no transform."""

    def encode(tile: np.ndarray) -> bytes:
        if planes == "YCBCR":
            tile = np.ascontiguousarray(cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]])
        return imagecodecs.jpeg2k_encode(
            tile, level, codecformat="j2k", mct=planes == "RGB", reversible=level == 0
        )

    return encode
