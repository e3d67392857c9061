"""How the bytes of a storage tile become pixels, for each way that tiled TIFF stores them."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
import simplejpeg
import tifffile

from wsi.reader.backend import DamagedError

RGB, YCBCR = 2, 6  # TIFF's photometric interpretation
JPEG, JPEG2000 = {7}, {33003, 33005, 34712}
APERIO_YCBCR = 33003  # JPEG 2000 whose planes are YCbCr, whatever the file says
LOSSLESS = {1, 5, 8, 32946}  # none, LZW, deflate


Decode = Callable[[bytes, int], np.ndarray]


class NotSupportedError(Exception):
    """Tiles stored in a way that is left to OpenSlide."""


@dataclass(frozen=True)
class Decoder:
    """Decodes the tiles of one level.

    Parameters
    ----------
    kind : in words, how the tiles are stored.
    decode : takes the bytes of a tile and a reduction (1, or one of `reductions`); returns
        ``[h, w, 3]`` uint8, or raises DamagedError.
    reductions : factors by which tiles can be decoded smaller.
    """

    kind: str
    decode: Decode
    reductions: tuple[int, ...] = ()


def find_decoder(page: tifffile.TiffPage) -> Decoder:
    """Return what decodes the tiles of a directory.

    Raises
    ------
    NotSupportedError : says what is unusual about it.
    """
    if not page.is_tiled or page.imagedepth != 1 or page.tiledepth != 1:
        raise NotSupportedError("it is not tiled")
    if page.bitspersample != 8 or page.samplesperpixel != 3 or page.planarconfig != 1:
        raise NotSupportedError(
            f"{page.samplesperpixel} channels of {page.bitspersample} bits, planar configuration "
            f"{int(page.planarconfig)}"
        )
    compression, photometric = int(page.compression), int(page.photometric)
    kind = f"compression {compression}, photometric interpretation {photometric}"
    if compression in JPEG and photometric in (RGB, YCBCR):
        return Decoder(kind, _strict(_jpeg(page, photometric)), (8, 4, 2))
    if compression in JPEG2000 and photometric in (RGB, YCBCR):
        return Decoder(kind, _strict(_jpeg2000(page, compression)))
    if compression in LOSSLESS and photometric == RGB:
        return Decoder(kind, _strict(_lossless(page)))
    raise NotSupportedError(kind)


def _strict(decode: Decode) -> Decode:
    """Let any complaint of a decoder about the bytes it is given be a DamagedError."""

    def strictly(data: bytes, reduction: int) -> np.ndarray:
        try:
            return decode(data, reduction)
        except (DamagedError, MemoryError):  # the sizes are bounded; memory is the machine's
            raise
        except Exception as error:  # every library has errors of its own
            raise DamagedError(f"{type(error).__name__}: {error}") from error

    return strictly


def _jpeg(page: tifffile.TiffPage, photometric: int) -> Decode:
    """Decode JPEG strictly: libjpeg's warnings mean wrong pixels."""
    height, width = page.tilelength, page.tilewidth
    # what an Adobe marker says of colour is what libjpeg does; TIFF says it outside the JPEG
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([photometric == YCBCR])
    tables = page.jpegtables[2:-2] if page.jpegtables else b""
    start = b"\xff\xd8" + adobe + tables

    def decode(data: bytes, reduction: int) -> np.ndarray:
        if not data.startswith(b"\xff\xd8"):
            raise DamagedError("not a JPEG: it does not begin with the right bytes")
        first = 2
        while data[first : first + 2] == b"\xff\xe0":  # JFIF would overrule the Adobe marker
            first += 2 + int.from_bytes(data[first + 2 : first + 4], "big")
        whole = b"".join((start, memoryview(data)[first:]))
        shape = height // reduction, width // reduction, 3
        tile = simplejpeg.decode_jpeg(
            whole,
            min_height=shape[0],
            min_width=shape[1],
            min_factor=reduction,
            buffer=np.empty(shape, np.uint8),  # since a damaged header may ask for any size
        )
        if tile.shape != shape:
            raise DamagedError(f"{tile.shape[1]} x {tile.shape[0]} pixels instead of {width}")
        return tile

    return decode


def _jpeg2000(page: tifffile.TiffPage, compression: int) -> Decode:
    shape = page.tilelength, page.tilewidth, 3

    def decode(data: bytes, reduction: int) -> np.ndarray:
        found = _jpeg2000_size(data)
        if found != shape[1::-1]:
            raise DamagedError(f"{found} pixels instead of {shape[1::-1]}")
        tile = imagecodecs.jpeg2k_decode(data)
        if tile.shape != shape or tile.dtype != np.uint8:
            raise DamagedError(f"{tile.shape} {tile.dtype} instead of {shape}")
        if compression == APERIO_YCBCR:
            tile = cv2.cvtColor(tile[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
        return tile

    return decode


def _jpeg2000_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the SIZ marker: a damaged one may ask for any memory."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 256)
    if at < 0:
        raise DamagedError("not a JPEG 2000 codestream")
    numbers = np.frombuffer(data[at + 8 : at + 24], ">u4")
    if len(numbers) < 4:
        raise DamagedError("it ends in its header")
    return int(numbers[0]) - int(numbers[2]), int(numbers[1]) - int(numbers[3])


def _lossless(page: tifffile.TiffPage) -> Decode:
    shape = page.tilelength, page.tilewidth, 3

    def decode(data: bytes, reduction: int) -> np.ndarray:
        tile, _, _ = page.decode(data, 0, _fullsize=True)
        tile = np.asarray(tile).reshape(-1)
        if tile.size != np.prod(shape):
            raise DamagedError(f"{tile.size} bytes instead of {np.prod(shape)}")
        return tile.reshape(shape)

    return decode
