"""The figure of a robustness curve: all experiments, and their differences to the first."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mil.config_robustness import PIXELS
from mil.figures import BLUE, GREEN, MUTED, ORANGE, PURPLE, VERMILLION, house_style, new_figure

if TYPE_CHECKING:
    from mil.robustness.of_labels import LabelCurvePoint
    from mil.robustness.of_survival import CurvePoint

    Points = Sequence[CurvePoint | LabelCurvePoint]

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MARKERS = "osD^vP"  # told apart without colour, too
TITLES = {
    "occlusion-zero": "Regions left out: their features are zero",
    "occlusion-discard": "Regions left out: their patches are removed",
    "blur": "Gaussian blur of the patches",
    "hed": "Changed stain of the patches (haematoxylin, eosin, DAB)",
}
AXES = {
    "occlusion-zero": "Share of a patient's regions left out (1: one stays)",
    "occlusion-discard": "Share of a patient's regions left out (1: one stays)",
    "blur": "Level of blur",
    "hed": "Level of change",
}


@house_style()
def draw_curves(curve: str, points: "Points", label: str, chance: float) -> Figure:
    """Return a measure against strength with 95 % intervals; below, differences to the first.

    Parameters
    ----------
    curve : its name, a key of `TITLES`.
    points : of all experiments, in their order.
    label : of the axis of the measure.
    chance : where a model that knows nothing is.
    """
    names = list(dict.fromkeys(point.experiment for point in points))
    several = len(names) > 1
    figure = new_figure(6.8, 6.2 if several else 4.2)
    if several:
        panels = figure.subplots(2, 1, sharex=True, height_ratios=[5, 3])
    else:
        panels = [figure.subplots()]
    for number, (name, colour, marker) in enumerate(
        zip(names, cycle(COLOURS), cycle(MARKERS), strict=False)
    ):
        own = [point for point in points if point.experiment == name]
        aside = _aside(own, number, len(names))
        look = {"color": colour, "marker": marker, "label": name}
        _line(panels[0], own, aside, ("value", "low", "high"), look)
        if number:
            _line(panels[1], own, aside, ("difference", "difference_low", "difference_high"), look)
    panels[0].axhline(chance, color=MUTED, lw=0.9, ls="--", zorder=0)
    panels[0].set_ylabel(label)
    panels[0].set_title(f"{TITLES[curve]}\n{_sizes(points)}", fontsize=9.5)
    panels[0].legend(loc="best")
    if several:
        panels[1].axhline(0, color=MUTED, lw=0.9, ls="--", zorder=0)
        panels[1].set_ylabel(f"Difference to\n{names[0]}")
    panels[-1].set_xlabel(AXES[curve])
    if curve in PIXELS:
        ticks = {point.strength: point.level for point in points}
        panels[-1].set_xticks(list(ticks), list(ticks.values()))
    return figure


def _aside(points: "Points", number: int, names: int) -> float:
    """Return how far a line is moved so that intervals do not hide each other."""
    strengths = sorted({point.strength for point in points})
    step = np.diff(strengths).min(initial=1.0)
    return 0.12 * step * (number - (names - 1) / 2)


def _line(axes: Axes, points: "Points", aside: float, columns: Sequence[str], look: dict) -> None:
    x = np.array([point.strength for point in points]) + aside
    value, low, high = (np.array([getattr(p, column) for p in points]) for column in columns)
    axes.plot(x, value, ms=4, lw=1.3, **look)
    axes.vlines(x, low, high, color=look["color"], lw=1, alpha=0.6)


def _sizes(points: "Points") -> str:
    sizes = sorted({(point.n, point.counted) for point in points})
    on = ", ".join(counted for _, counted in sizes)
    most = max(point.repeats for point in points)
    repeats = f"; mean of {most} choices of regions" if most > 1 else ""
    return f"{on}; 95 % bootstrap intervals{repeats}"
