"""The back end for plain pictures: one level, no scale."""

from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from wsi.reader.backend import DamagedError

MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}
LARGEST = 2**29  # pixels; a picture is decoded as a whole, at 3 bytes a pixel
BLOCK = 2048  # nothing in a picture is stored apart; it is looked at in blocks of this side
STRICT_MODES = ("L", "RGB")  # of a JPEG that simplejpeg decodes; the other is CMYK
PNG_BITS = 24  # where a PNG says how many bits a channel has


def picture_format(head: bytes) -> str | None:
    """Return ``jpeg`` or ``png`` for a file that begins with `head`, else None."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


class PictureBackend:
    """A PNG or JPEG, decoded as a whole when it is opened.

    Parameters
    ----------
    path : the picture.

    Raises
    ------
    DamagedError : it cannot be decoded to its end without complaint, or is larger than memory
        should hold.
    """

    name = "picture"

    def __init__(self, path: Path):
        try:
            self._pixels = _decode(path)
        except (DamagedError, MemoryError):
            raise
        except Exception as error:  # on damaged bytes Pillow raises nearly anything
            raise DamagedError(f"{type(error).__name__}: {error}") from error
        height, width = self._pixels.shape[:2]
        self.level_dimensions = [(width, height)]

    def read(
        self, level: int, left: int, top: int, width: int, height: int, reduction: int = 1
    ) -> np.ndarray:
        """Return a region, with alpha where the picture has one."""
        return self._pixels[top : top + height, left : left + width].copy()

    def reductions(self, level: int) -> tuple[int, ...]:
        """Return nothing: the picture is decoded already."""
        return ()

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of a block."""
        return BLOCK, BLOCK

    def close(self) -> None:
        """Drop the pixels."""
        self._pixels = np.empty((0, 0, 3), np.uint8)


def _decode(path: Path) -> np.ndarray:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # it has our limit instead
    try:
        image = Image.open(path, formats=("PNG", "JPEG"))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    with image:
        if image.width * image.height > LARGEST:
            raise DamagedError(f"{image.width} x {image.height} pixels are too many for a picture")
        if image.format == "JPEG" and image.mode in STRICT_MODES:
            # Pillow takes a JPEG's wrong bytes for right without a word
            return simplejpeg.decode_jpeg(path.read_bytes())
        if image.format == "PNG" and _png_bits(path) > 8:
            raise DamagedError("16 bits a channel; save it with 8")
        clear = "A" in image.getbands() or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if clear else "RGB"))


def _png_bits(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(PNG_BITS + 1)[PNG_BITS]
