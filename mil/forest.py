"""Forest plot: C of every fold, its mean and interval, for each experiment."""

import re
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mil.compared_experiment import ComparedExperiment
from mil.figures import BLUE, INK, MUTED, house_style, new_figure
from mil.labelled.compared import ComparedLabels


@house_style()
def draw_forest(
    rows: Sequence[ComparedExperiment | ComparedLabels],
    points: Mapping[str, np.ndarray],
    label: str = "Harrell's C on test patients (0.5: a coin)",
    chance: float = 0.5,
) -> Figure:
    """Return a line an experiment, the best one on top, and the numbers beside it.

    Parameters
    ----------
    rows : groups of experiments, the best one first.
    points : C (or what else ranks) of every seed and fold, [seeds, folds], for each of them; where
        there are several seeds, their means are grey bars and the points are means over seeds.
    label : of the axis.
    chance : where a model that knows nothing is.
    """
    names = [_lines(row.experiment) for row in rows]
    of_row = max(0.42, 0.06 + 0.14 * max(map(len, names)))  # inches
    figure = new_figure(7.2, 1.3 + of_row * len(rows))
    axes = figure.subplots()
    axes.axvline(chance, color=MUTED, lw=0.9, ls="--", zorder=0)
    axes.axvline(rows[0].value, color=BLUE, lw=0.6, ls=":", zorder=0)
    for y, row in enumerate(rows):
        own = points[row.experiment]
        of_folds = own.mean(axis=0)
        spread = np.linspace(-0.13, 0.13, len(of_folds)) if len(of_folds) > 1 else np.zeros(1)
        if row.seeds > 1:
            axes.vlines(
                own.mean(axis=1), y - 0.3, y + 0.3, color=MUTED, lw=1.2, label="one seed, mean"
            )
        axes.plot(
            of_folds,
            y + spread,
            "o",
            ms=3.5,
            mfc="white",
            mec=MUTED,
            mew=0.8,
            zorder=4,
            label="one fold",
        )
        axes.plot([row.low, row.high], [y, y], color=BLUE, lw=2, label="95 % interval")
        axes.plot(row.value, y, "s", ms=6.5, color=BLUE, label="mean over folds")
        axes.text(
            1.02, y, _numbers(row), transform=axes.get_yaxis_transform(), va="center", color=INK
        )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), ["\n".join(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    handles, labels = axes.get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))
    figure.legend(legend.values(), legend, loc="outside lower center", ncols=len(legend))
    sizes = sorted({(row.n, row.counted) for row in rows})
    on = ", ".join(counted for _, counted in sizes)
    axes.set_title(f"{on}; {rows[0].folds} folds")
    return figure


def _lines(name: str, width: int = 26) -> list[str]:
    """Return a name in lines that break before what a grid and a seed have added, if they can."""
    lines = [""]
    for part in re.split(r"(?=\.[A-Za-z])", name):
        if len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return [piece for line in lines if line for piece in textwrap.wrap(line, width)]


def _numbers(row: ComparedExperiment) -> str:
    if np.isnan(row.value):
        return "undefined"
    interval = "no interval" if np.isnan(row.low) else f"[{row.low:.3f}, {row.high:.3f}]"
    return f"{row.value:.3f} {interval}"
