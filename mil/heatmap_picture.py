"""The picture of attention heatmaps: a row a slide, as it is and under its attention."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsi.storage import atomic

COLOURS = matplotlib.colormaps["viridis"]  # perceptually uniform, safe for colour-blind readers
OPACITY = 0.6
GLASS = 235  # grey under the colour bar, as under the patches
SIDE, GAP, HEAD, CAPTION, FOOT = 540, 16, 44, 46, 74  # pixels
DPI = 100
QUALITY = 82


@dataclass(frozen=True)
class Panel:
    """What a row shows.

    Attributes
    ----------
    thumbnail, tissue : picture and outlines (GeoJSON) of what was scanned; features made elsewhere
        come without outlines, None.
    coords : ``[N, 2]`` top-left corners of the patches, level-0 pixels from the corner of what was
        scanned.
    footprint : side of a patch, level-0 pixels.
    extent : width and height of what was scanned, level-0 pixels.
    mpp : um per level-0 pixel, None where unknown.
    percentile : ``[N]`` of the attention within the slide, 0-100.
    caption : lines above the row.
    """

    thumbnail: Path
    tissue: Path | None
    coords: np.ndarray
    footprint: float
    extent: tuple[float, float]
    mpp: float | None
    percentile: np.ndarray
    caption: str


def draw_panels(title: str, panels: Sequence[Panel], path: str | Path) -> None:
    """Write a JPEG with a row for each panel and one colour bar."""
    pictures = [_fitted(panel.thumbnail) for panel in panels]
    width = 2 * SIDE + 3 * GAP
    height = HEAD + FOOT + sum(CAPTION + picture.shape[0] + GAP for picture in pictures)
    figure = Figure((width / DPI, height / DPI), DPI, facecolor="white")
    page = _Page(figure, width, height)
    page.text(GAP, 14, title, size=13, weight="bold")
    top = HEAD
    for panel, picture in zip(panels, pictures, strict=True):
        page.text(GAP, top, panel.caption, size=9)
        top += CAPTION
        rows, columns = picture.shape[:2]
        plain = page.axes(GAP, top, columns, rows, picture)
        covered = overlay(picture, panel)
        seen = page.axes(SIDE + 2 * GAP, top, columns, rows, covered)
        if panel.tissue is not None:
            _outline(seen, panel, columns, rows)
        for axes in (plain, seen):
            axes.set(xlim=(0, columns), ylim=(rows, 0))
        if panel.mpp:
            _scale_bar(plain, panel, columns, rows)
        top += rows + GAP
    _colour_bar(page, SIDE + 2 * GAP, top)
    _write(figure, path)


def draw_message(text: str, path: str | Path) -> None:
    """Write a JPEG that only says something."""
    figure = Figure((8, 1.2), DPI, facecolor="white")
    figure.text(0.02, 0.5, text, fontsize=11, va="center", wrap=True)
    _write(figure, path)


def overlay(picture: np.ndarray, panel: Panel) -> np.ndarray:
    """Return the picture in grey with each patch coloured at its place.

    Parameters
    ----------
    picture : ``[H, W, 3]`` uint8, the whole slide.
    panel : coords, footprint, extent and percentile are used.

    Returns
    -------
    ``[H, W, 3]`` uint8.
    """
    height, width = picture.shape[:2]
    scale = np.array([width / panel.extent[0], height / panel.extent[1]])
    corners = np.rint(panel.coords * scale).astype(int)
    ends = np.maximum(corners + 1, np.rint((panel.coords + panel.footprint) * scale).astype(int))
    value = np.full((height, width), np.nan)
    for (x, y), (right, bottom), percentile in zip(corners, ends, panel.percentile, strict=True):
        value[max(y, 0) : max(bottom, 0), max(x, 0) : max(right, 0)] = percentile
    # On grey the colours are those of the bar; on pink and purple they would be mixed with them.
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    colour = COLOURS(np.nan_to_num(value) / 100)[..., :3] * 255
    share = OPACITY * np.isfinite(value)[..., None]
    return np.rint(grey * (1 - share) + colour * share).astype(np.uint8)


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


def _fitted(path: Path) -> np.ndarray:
    """Return the thumbnail as RGB in a square of SIDE pixels."""
    picture = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    factor = SIDE / max(picture.shape[:2])
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=how)


def _outline(axes: Axes, panel: Panel, columns: int, rows: int) -> None:
    content = json.loads(panel.tissue.read_text())
    scale = np.array([columns / panel.extent[0], rows / panel.extent[1]])
    for feature in content["features"]:
        if feature["properties"]["classification"]["name"] != "Tissue":
            continue
        for ring in feature["geometry"]["coordinates"]:
            axes.plot(*(np.array(ring) * scale).T, color="black", linewidth=0.8)


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


def _colour_bar(page: _Page, x: int, y: int) -> None:
    width, height = SIDE // 2, 14
    colour = COLOURS(np.linspace(0, 1, width))[:, :3] * 255
    shade = np.rint(GLASS * (1 - OPACITY) + colour * OPACITY).astype(np.uint8)
    axes = page.axes(x, y + 4, width, height, np.repeat(shade[None], height, axis=0))
    axes.set_axis_on()
    axes.set_yticks([])
    axes.set_xticks([0, width / 2, width], ["0", "50", "100"], fontsize=8)
    axes.tick_params(length=3)
    page.text(x + width + 14, y + 2, "attention percentile within slide", size=9)


def _write(figure: Figure, path: str | Path) -> None:
    FigureCanvasAgg(figure)
    with atomic(path) as partial:
        figure.savefig(partial, format="jpg", pil_kwargs={"quality": QUALITY, "optimize": True})
