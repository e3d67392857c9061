"""Which back end reads a file, and a sentence where none can."""

import errno
import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openslide
import tifffile

from wsi.outcome import SlideError
from wsi.reader.agreement import disagreement
from wsi.reader.backend import Backend, DamagedError
from wsi.reader.openslide_backend import OpenSlideBackend
from wsi.reader.picture_backend import PictureBackend, picture_format
from wsi.reader.tiff_backend import TiffBackend
from wsi.reader.tile_codecs import NotSupportedError

log = logging.getLogger(__name__)
# what tifffile finds odd is no news for the user: OpenSlide decides whether it is a slide
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

PLAIN_TIFF = ("aperio", "generic-tiff")  # what OpenSlide calls formats that are tiled TIFF
MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
CONVERTERS = {  # formats that OpenSlide does not read, and who can
    ".vsi": "Olympus VSI; convert it with bfconvert (Bio-Formats) or QuPath",
    ".isyntax": "Philips iSyntax; convert it with Philips' tools or pyisyntax",
    ".sdpc": "SQRay SDPC; convert it with the vendor's tool",
    ".kfb": "KFBio KFB; convert it with the vendor's tool",
    ".czi": "a Zeiss CZI that is compressed with JPEG XR; convert it with bfconvert or pylibCZIrw",
    ".mrxs": "a MIRAX slide without the folder of the same name beside it; copy that too",
}


@dataclass(frozen=True)
class Opened:
    """An open file: its back end, its properties under OpenSlide's names, its format."""

    backend: Backend
    properties: Mapping[str, str]
    format: str


def open_file(path: Path, direct: bool = True) -> Opened:
    """Open a slide with the fastest back end that shows the right pixels.

    Parameters
    ----------
    path : the slide.
    direct : whether tiled TIFF may be decoded directly.

    Raises
    ------
    SlideError
        Kind ``unreadable``: what is wrong with the file, and what to do.
    """
    head = _head(path)
    try:
        with openslide.OpenSlide(str(path)) as handle:
            properties = dict(handle.properties)
            vendor = properties.get("openslide.vendor", "unknown")
            backend = _tiff(path, handle, vendor) if direct and vendor in PLAIN_TIFF else None
        return Opened(backend or OpenSlideBackend(path), properties, vendor)
    except openslide.OpenSlideError as error:
        kind = picture_format(head)
        if kind and path.suffix.lower() != ".mrxs":  # whose main file is a small JPEG
            return Opened(_picture(path), {}, kind)
        raise SlideError("unreadable", _why(path, error)) from error


def _head(path: Path) -> bytes:
    """Return the first bytes of a file that is there and holds something."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SlideError(
                "unreadable", f"{path} is a folder; path in slides.csv must be a file."
            )
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise SlideError(
                "unreadable", f"{path} is a pipe or a device; path in slides.csv must be a file."
            )
        with open(path, "rb") as file:
            head = file.read(16)
    except PermissionError:
        raise SlideError(
            "unreadable", f"{path} may not be read by this user; ask its owner, or chmod it."
        ) from None
    except OSError as error:
        if error.errno not in MISSING:  # a network disk that dropped out may come back
            raise
        raise SlideError("unreadable", _missing(path)) from None
    if not head:
        raise SlideError("unreadable", f"{path} is empty (0 bytes); copy the slide again.")
    return head


def _missing(path: Path) -> str:
    if path.is_symlink():
        return (
            f"{path} is a link to {path.readlink()}, which does not exist or leads back to it; "
            "mend the link or path in slides.csv."
        )
    return f"{path} does not exist; correct path in slides.csv."


def _why(path: Path, error: Exception) -> str:
    megabytes = path.stat().st_size / 1e6
    if known := CONVERTERS.get(path.suffix.lower()):
        return f"OpenSlide cannot open {path} ({megabytes:.1f} MB; {error}). It may be {known}."
    return (
        f"OpenSlide cannot open {path} ({megabytes:.1f} MB; {error}). Either the file was cut off "
        "while it was copied (compare its size with the original), or the format is not supported "
        "(convert it to a pyramidal TIFF)."
    )


def _picture(path: Path) -> PictureBackend:
    try:
        return PictureBackend(path)
    except DamagedError as error:
        raise SlideError(
            "unreadable", f"the picture {path} cannot be decoded ({error}); copy or save it again."
        ) from error


def _tiff(path: Path, handle: openslide.OpenSlide, vendor: str) -> TiffBackend | None:
    """Return the direct back end if it knows how tiles are stored and agrees with OpenSlide."""
    backend = None
    try:
        with tifffile.TiffFile(path) as file:
            pages = _level_pages(file, handle)
            if vendor == "aperio" and any(0 in page.databytecounts for page in pages):
                # the coarser levels are wrong where a tile was left out; OpenSlide mends them
                raise NotSupportedError("tiles were left out")
            backend = TiffBackend(path, pages)
        if why := disagreement(backend, handle):
            raise NotSupportedError(why)
        backend.cross_check()
        return backend
    except NotSupportedError as reason:
        log.info("%s: read by OpenSlide: %s", path.name, reason)
    except Exception as error:  # a damaged directory may end tifffile in any way; OpenSlide decides
        log.info("%s: read by OpenSlide: %s: %s", path.name, type(error).__name__, error)
    if backend is not None:
        backend.close()
    return None


def _level_pages(file: tifffile.TiffFile, handle: openslide.OpenSlide) -> list[tifffile.TiffPage]:
    """Return the directory of each level of OpenSlide's; for OME-TIFF, of the file's own."""
    for series in file.series if file.is_ome else ():
        pages = [level.keyframe for level in series.levels]
        size = pages[0].imagewidth, pages[0].imagelength
        if size == handle.level_dimensions[0] and len(pages) > handle.level_count:
            return sorted(pages, key=lambda page: -page.imagewidth)
    tiled = [page for page in file.pages if page.is_tiled]
    found = []
    for size in handle.level_dimensions:
        page = next((p for p in tiled if (p.imagewidth, p.imagelength) == size), None)
        if page is None:
            raise NotSupportedError(f"no directory is a level of {size[0]} x {size[1]}")
        found.append(page)
    return found
