"""The back end for plain pictures: one level, no scale."""

from pathlib import Path

import numpy as np
from PIL import Image

from wsi.reader.backend import DamagedError

MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}
LARGEST = 2**29  # pixels; a picture is decoded as a whole, at 3 bytes a pixel
BLOCK = 2048  # nothing in a picture is stored apart; it is looked at in blocks of this side


def picture_format(head: bytes) -> str | None:
    """Return ``jpeg`` or ``png`` for a file that begins with `head`, else None."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


class PictureBackend:
    """A PNG or JPEG, decoded as a whole when it is opened.

    Raises
    ------
    DamagedError : it cannot be decoded to its end, or is larger than memory should hold.
    """

    name = "picture"

    def __init__(self, path: Path):
        # Pillow's own limit warns from a fifth of what is allowed here
        Image.MAX_IMAGE_PIXELS = LARGEST // 2  # it refuses twice as much
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > LARGEST:
                    raise DamagedError(
                        f"{image.width} x {image.height} pixels are too many for a picture"
                    )
                clear = "A" in image.getbands() or "transparency" in image.info
                if image.mode.startswith(("I", "F")):
                    raise DamagedError(f"pixels of kind {image.mode}, not 8 bits a channel")
                self._pixels = np.asarray(image.convert("RGBA" if clear else "RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DamagedError(str(error)) from error
        height, width = self._pixels.shape[:2]
        self.level_dimensions = [(width, height)]

    def read(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return a region, with alpha where the picture has one."""
        return self._pixels[top : top + height, left : left + width]

    def storage_tile(self, level: int) -> tuple[int, int]:
        """Return width and height of a block."""
        return BLOCK, BLOCK

    def reopen(self) -> None:
        """Do nothing: the pixels are in memory."""

    def close(self) -> None:
        """Drop the pixels."""
        self._pixels = np.empty((0, 0, 3), np.uint8)
