"""What all figures share: their look, and bytes that depend on their content alone."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from wsi.storage import atomic

# Okabe and Ito's colours: told apart with any kind of colour vision, and in grey.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
INK, MUTED, FAINT = "#222222", "#6B6B6B", "#D9D9D9"

STYLE = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "slide-survival",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


def house_style() -> matplotlib.RcParams:
    """Return a context (or decorator) in which figures have the project's look."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **STYLE})


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches; no window, no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG without date or random ids: the same content gives the same bytes.

    The layout's solver goes through memory in no fixed order, and its last digits differ; names of
    clipping paths are hashes of them. So axes are laid out first, and their places rounded.
    """
    with house_style(), atomic(path) as partial:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in figure.axes:
            axes.set_position([round(edge, 6) for edge in axes.get_position().bounds])
        figure.savefig(partial, format="svg", metadata={"Date": None})
