"""The picture of heatmaps: a row a slide, as it is and under each of its scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mil.score_maps import ScoreMap
from wsi.storage import atomic

OPACITY = 0.6
ANNOTATED = "#e6007e"  # apart from every colour of the maps
GLASS = 235  # grey under the colour bar and where there is no picture, as under the patches
SIDE, GAP, HEAD, CAPTION, FOOT = 540, 16, 68, 46, 60  # pixels
DPI = 100
QUALITY = 82
LEAST_WIDTH = 2 * SIDE  # for the title and the captions


@dataclass(frozen=True)
class Panel:
    """What a row shows.

    Attributes
    ----------
    thumbnail, tissue : picture and outlines (GeoJSON) of what was scanned; features made elsewhere
        come without outlines, None, and bags without slides without either.
    coords : ``[N, 2]`` top-left corners of the patches, level-0 pixels from the corner of what was
        scanned.
    footprint : side of a patch, level-0 pixels.
    extent : width and height of what was scanned, level-0 pixels.
    mpp : um per level-0 pixel, None where unknown.
    maps : what is drawn over it, a column each; the same for all panels of a picture.
    caption : lines above the row.
    annotations : ``[K, 2]`` rings that somebody drew on the slide, level-0 pixels.
    """

    thumbnail: Path | None
    tissue: Path | None
    coords: np.ndarray
    footprint: float
    extent: tuple[float, float]
    mpp: float | None
    maps: tuple[ScoreMap, ...]
    caption: str
    annotations: tuple[np.ndarray, ...] = ()


def draw_panels(title: str, panels: Sequence[Panel], path: str | Path, side: int = SIDE) -> None:
    """Write a JPEG with a row for each panel and a colour bar for each column of maps.

    Parameters
    ----------
    title : above everything.
    panels : at least one.
    path : JPEG to write.
    side : of the longer side of each slide, pixels. It alone decides on the memory: neither the
        slides' size nor the number of patches does.
    """
    pictures = [_fitted(panel, side) for panel in panels]
    plain = any(panel.thumbnail is not None for panel in panels)
    maps = panels[0].maps
    columns = [GAP + i * (side + GAP) for i in range(plain + len(maps))]
    of_maps = columns[plain:]
    width = max(columns[-1] + side + GAP, LEAST_WIDTH)
    height = HEAD + FOOT + sum(CAPTION + picture.shape[0] + GAP for picture in pictures)
    figure = Figure((width / DPI, height / DPI), DPI, facecolor="white")
    page = _Page(figure, width, height)
    page.text(GAP, 14, title, size=13, weight="bold")
    for x, one in zip(of_maps, maps, strict=True):
        page.text(x, 44, one.title.capitalize(), size=11)
    top = HEAD
    for panel, picture in zip(panels, pictures, strict=True):
        page.text(GAP, top, panel.caption, size=9)
        top += CAPTION
        _row(page, panel, picture, columns, top)
        top += picture.shape[0] + GAP
    for x, one in zip(of_maps, maps, strict=True):
        _colour_bar(page, one, x, top, side)
    _write(figure, path)


def _row(page: "_Page", panel: Panel, picture: np.ndarray, columns: list[int], top: int) -> None:
    """Draw the slide, where there is a picture of it, and its maps."""
    rows, width = picture.shape[:2]
    covered = [overlay(picture, panel, one) for one in panel.maps]
    alone = [picture] if len(columns) > len(covered) else []
    shown = [
        page.axes(x, top, width, rows, one) for x, one in zip(columns, alone + covered, strict=True)
    ]
    for axes in shown[len(alone) :]:
        if panel.tissue is not None:
            _outline(axes, panel, _tissue(panel.tissue), picture, "black", 0.8)
    for axes in shown:
        _outline(axes, panel, panel.annotations, picture, ANNOTATED, 1.3)
        axes.set(xlim=(0, width), ylim=(rows, 0))
    if panel.mpp:
        _scale_bar(shown[0], panel, width, rows)


def draw_message(text: str, path: str | Path) -> None:
    """Write a JPEG that only says something."""
    figure = Figure((8, 1.2), DPI, facecolor="white")
    figure.text(0.02, 0.5, text, fontsize=11, va="center", wrap=True)
    _write(figure, path)


def overlay(picture: np.ndarray, panel: Panel, scores: ScoreMap) -> np.ndarray:
    """Return the picture in grey with each patch coloured at its place.

    Where patches overlap, the mean of their places in the colour map is shown.

    Parameters
    ----------
    picture : ``[H, W, 3]`` uint8, the whole slide.
    panel : coords, footprint and extent are used.
    scores : of the panel's patches.

    Returns
    -------
    ``[H, W, 3]`` uint8.
    """
    height, width = picture.shape[:2]
    scale = np.array([width / panel.extent[0], height / panel.extent[1]])
    known = np.isfinite(scores.place)
    coords = panel.coords[known]
    low = np.rint(coords * scale).astype(int)
    high = np.maximum(low + 1, np.rint((coords + panel.footprint) * scale).astype(int))
    place, covered = _mean_over(low, high, scores.place[known], (height, width))
    # On grey the colours are those of the bar; on pink and purple they would be mixed with them.
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    colour = scores.colours(place)[..., :3] * 255
    share = OPACITY * covered[..., None]
    return np.rint(grey * (1 - share) + colour * share).astype(np.uint8)


def _mean_over(
    low: np.ndarray, high: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [H, W] of the rectangles over each pixel, and where there is any.

    A rectangle is written at its four corners and spread by summing along both axes.

    Parameters
    ----------
    low, high : ``[N, 2]`` x and y of the first pixel of a rectangle and of the first behind it.
    value : ``[N]``.
    shape : H and W.
    """
    (x0, y0), (x1, y1) = (np.clip(ends, 0, shape[::-1]).T for ends in (low, high))
    sums = np.zeros((2, shape[0] + 1, shape[1] + 1))
    for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
        np.add.at(sums[0], (y, x), sign)
        np.add.at(sums[1], (y, x), sign * value)
    count, total = sums.cumsum(1).cumsum(2)[:, :-1, :-1]
    mean = (total / np.maximum(count, 1)).round(9)  # the sums have rounding errors, colours steps
    return np.clip(mean, 0, 1), count > 0


class _Page:
    """A figure addressed in pixels from its top-left corner."""

    def __init__(self, figure: Figure, width: int, height: int):
        self.figure, self.width, self.height = figure, width, height

    def axes(self, x: int, y: int, width: int, height: int, picture: np.ndarray) -> Axes:
        left, bottom = x / self.width, 1 - (y + height) / self.height
        axes = self.figure.add_axes((left, bottom, width / self.width, height / self.height))
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
        axes.set_axis_off()
        return axes

    def text(self, x: int, y: int, text: str, **style: object) -> None:
        at = x / self.width, 1 - y / self.height
        self.figure.text(*at, text, va="top", linespacing=1.45, parse_math=False, **style)


def _fitted(panel: Panel, side: int) -> np.ndarray:
    """Return the slide as RGB in a square, a grey canvas where there is no picture of it."""
    if panel.thumbnail is None:
        factor = side / max(panel.extent)
        size = [max(1, round(length * factor)) for length in panel.extent[::-1]]
        return np.full((*size, 3), GLASS, np.uint8)
    picture = cv2.cvtColor(cv2.imread(str(panel.thumbnail), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    factor = side / max(picture.shape[:2])
    size = [max(1, round(length * factor)) for length in picture.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=how)


def _tissue(path: Path) -> list[np.ndarray]:
    """Return the rings [n, 2] of the tissue of a slide."""
    return [
        np.array(ring)
        for feature in json.loads(path.read_text())["features"]
        if feature["properties"]["classification"]["name"] == "Tissue"
        for ring in feature["geometry"]["coordinates"]
    ]


def _outline(
    axes: Axes,
    panel: Panel,
    rings: Sequence[np.ndarray],
    picture: np.ndarray,
    colour: str,
    width: float,
) -> None:
    scale = np.array(picture.shape[1::-1]) / panel.extent
    for ring in rings:
        axes.plot(*(ring * scale).T, color=colour, linewidth=width)


def _scale_bar(axes: Axes, panel: Panel, columns: int, rows: int) -> None:
    um_per_pixel = panel.mpp * panel.extent[0] / columns
    length = round_length(columns * um_per_pixel / 4)
    pixels = length / um_per_pixel
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    x, y = columns - 12 - pixels, rows - 12
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x + pixels / 2, y - 7, label, fontsize=8, ha="center", va="bottom", bbox=box)
    axes.plot([x, x + pixels], [y, y], color="white", linewidth=5, solid_capstyle="butt")
    axes.plot([x, x + pixels], [y, y], color="black", linewidth=3, solid_capstyle="butt")


def round_length(most: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most))


def _colour_bar(page: _Page, scores: ScoreMap, x: int, y: int, side: int) -> None:
    width, height = side // 2, 14
    colour = scores.colours(np.linspace(0, 1, width))[:, :3] * 255
    shade = np.rint(GLASS * (1 - OPACITY) + colour * OPACITY).astype(np.uint8)
    axes = page.axes(x, y + 4, width, height, np.repeat(shade[None], height, axis=0))
    axes.set_axis_on()
    axes.set_yticks([])
    axes.set_xticks([0, width / 2, width], scores.ticks, fontsize=8)
    for text, side_of in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        text.set_horizontalalignment(side_of)  # words stay under the bar
    axes.tick_params(length=3)
    page.text(x + width + 14, y + 2, scores.legend, size=9)


def _write(figure: Figure, path: str | Path) -> None:
    FigureCanvasAgg(figure)
    with atomic(path) as partial:
        figure.savefig(partial, format="jpg", pil_kwargs={"quality": QUALITY, "optimize": True})
