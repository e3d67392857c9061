"""Physical scale: how many micrometres a pixel is, and what to read for a wanted scale."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from wsi.outcome import SlideError
from wsi.reader import Slide

log = logging.getLogger(__name__)

PLAUSIBLE_MPP = (0.05, 10.0)  # outside this a value is a printer's resolution, not a scanner's
LIKELY_RATIO = (0.6, 1.7)  # of the um/px found to what the objective power says
RATIO = 4  # one coarse patch is 4 x 4 fine ones (AdvMIL's level 2 and level 1)
CHILDREN = RATIO * RATIO  # fine patches of a coarse one, always all of them
UNITS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}  # OME's lengths, in um


def find_mpp(slide: Slide, given: float | None = None) -> tuple[float, str]:
    """Return the micrometres per level-0 pixel and where the value comes from.

    The first of these that is plausible (0.05-10 um): the slide table, ``openslide.mpp-x/y``,
    ``aperio.MPP``, the file's comment (OME's ``PhysicalSizeX``, ``PixelSizeMicrons``), TIFF
    resolution, 10 / objective power.

    Raises
    ------
    SlideError
        Kind ``no_scale``: none of them.
    """
    for value, source in _candidates(slide.properties, given):
        if value is not None and PLAUSIBLE_MPP[0] <= value <= PLAUSIBLE_MPP[1]:
            _warn_of_contradictions(slide.properties, value, source)
            return value, source
    found = [
        f"{source} {value:g}" for value, source in _candidates(slide.properties, given) if value
    ]
    raise SlideError(
        "no_scale",
        "no scale. The file has no mpp and no objective power"
        + (f" (implausible: {', '.join(found)})" if found else "")
        + "; add a column mpp (um per level-0 pixel) to slides.csv, or patch by downsample "
        "(scale: {by: downsample, coarse: 16, fine: 4}).",
    )


def _warn_of_contradictions(properties: Mapping[str, str], mpp: float, source: str) -> None:
    power = _from_power(properties)
    if power and not LIKELY_RATIO[0] <= mpp / power <= LIKELY_RATIO[1]:
        log.warning(
            "%s says %g um/px, the objective power %g um/px; is the scale right?",
            *(source, mpp, power),
        )
    x, y = _number(properties.get("openslide.mpp-x")), _number(properties.get("openslide.mpp-y"))
    if source == "openslide.mpp" and x and y and abs(x - y) > 0.02 * mpp:
        log.warning("pixels are not square (%g x %g um): using the mean, %g", x, y, mpp)


def _candidates(properties: Mapping[str, str], given: float | None) -> list[tuple]:
    x, y = _number(properties.get("openslide.mpp-x")), _number(properties.get("openslide.mpp-y"))
    return [
        (given, "slides.csv"),
        ((x + y) / 2 if x and y else x, "openslide.mpp"),
        (_number(properties.get("aperio.MPP")), "aperio.MPP"),
        *_from_comment(properties.get("openslide.comment", "")),
        (_from_resolution(properties), "tiff.XResolution"),
        (_from_power(properties), "objective power"),
    ]


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _from_comment(comment: str) -> list[tuple]:
    found = []
    if size := re.search(r'\bPhysicalSizeX="([^"]+)"', comment):
        unit = re.search(r'\bPhysicalSizeXUnit="([^"]+)"', comment)
        factor = UNITS.get((unit[1] if unit else "µm").replace("\u03bc", "µ"))
        value = _number(size[1])
        found.append((value * factor if value and factor else None, "OME PhysicalSizeX"))
    if size := re.search(r"<PixelSizeMicrons>([^<]+)<", comment):
        found.append((_number(size[1]), "PixelSizeMicrons"))
    return found


def _from_resolution(properties: Mapping[str, str]) -> float | None:
    resolution = _number(properties.get("tiff.XResolution"))
    unit = {"centimeter": 10_000, "inch": 25_400}.get(properties.get("tiff.ResolutionUnit", ""))
    return unit / resolution if resolution and unit else None


def _from_power(properties: Mapping[str, str]) -> float | None:
    power = _number(properties.get("openslide.objective-power"))
    return 10 / power if power else None


@dataclass(frozen=True)
class ReadPlan:
    """How patches of one scale are read from one slide.

    Parameters
    ----------
    level : pyramid level read.
    read_size : side of the square read at that level, in its pixels.
    size : side of the patch given to the encoder; the square is reduced to it if they differ.
    footprint : side of the patch in level-0 pixels.
    """

    level: int
    read_size: int
    size: int
    footprint: int


def plan_fine(slide: Slide, scale: Mapping[str, object], mpp0: float | None, size: int) -> ReadPlan:
    """Plan the fine patches; a coarse patch is exactly 4 x 4 of their footprints.

    The level read is the coarsest that is not coarser than wanted, so patches are reduced and
    not enlarged, unless the scan itself is too coarse and that is allowed. A level within 2 % of
    the wanted scale is read pixel for pixel.

    Parameters
    ----------
    slide : the slide.
    scale : ``by`` (``mpp``, ``downsample`` or ``level``), ``coarse``, ``fine`` and, if wanted,
        ``allow_upsample``: enlarge patches of a scan that is too coarse.
    mpp0 : um per level-0 pixel; needed for ``by: mpp``.
    size : side of the patch in pixels at the fine scale.

    Raises
    ------
    SlideError
        Kind ``no_scale``: the slide has no level that is fine enough, or not the levels asked for.
    """
    wanted = _fine_downsample(slide, scale, mpp0)
    if wanted < 0.98 and not scale.get("allow_upsample"):
        raise SlideError(
            "no_scale",
            f"the scan is too coarse: {mpp0:g} um/px, but patches need {scale['fine']} um/px. "
            "Leave the slide out (exclude), choose a coarser scale for the cohort, or let patches "
            "be enlarged (scale: allow_upsample).",
        )
    footprint = round(size * wanted)
    level = slide.best_level(wanted)
    downsample = sum(slide.downsample(level)) / 2
    read_size = max(1, round(footprint / downsample))
    if abs(footprint / downsample - size) <= 0.02 * size:
        read_size, footprint = size, round(size * downsample)
    return ReadPlan(level, read_size, size, footprint)


def _fine_downsample(slide: Slide, scale: Mapping[str, object], mpp0: float | None) -> float:
    if scale["by"] == "mpp":
        return float(scale["fine"]) / mpp0
    if scale["by"] == "downsample":
        return float(scale["fine"])
    coarse, fine = int(scale["coarse"]), int(scale["fine"])
    if coarse >= len(slide.level_dimensions):
        raise SlideError(
            "no_scale",
            f"it has {len(slide.level_dimensions)} level(s), so no level {coarse}; patch by mpp "
            "(scale: {by: mpp, coarse: 4.0, fine: 1.0}).",
        )
    downsamples = [sum(slide.downsample(level)) / 2 for level in (coarse, fine)]
    if abs(downsamples[0] / downsamples[1] - RATIO) > 0.02 * RATIO:
        raise SlideError(
            "no_scale",
            f"level {coarse} is {downsamples[0] / downsamples[1]:.3g} times coarser than level "
            f"{fine}, not {RATIO} times; patch by mpp (scale: {{by: mpp, ...}}).",
        )
    return downsamples[1]
