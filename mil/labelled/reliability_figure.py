"""Whether predicted probabilities happen as often as they say."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mil.figures import BLUE, FAINT, MUTED, house_style, new_figure
from mil.labelled.class_metrics import BINS, binned, judged
from mil.labelled.predictions import LabelFold, each_once
from mil.tasks.classification import Classification

Z = 1.959964  # of a 95 % interval


def reliability_table(folds: Sequence[LabelFold], task: Classification) -> pd.DataFrame:
    """Return ``name, low, high, n, probability, share, share_low, share_high``, a row a bin.

    Over all test parts, each patient (or slide) once: probabilities share a scale. Intervals of
    shares are Wilson's (JASA 1927). Of more than two classes it is about the predicted one.
    """
    once = each_once(folds)
    truth = np.concatenate([fold.test.truth for fold in once])
    told = np.concatenate([fold.test.told for fold in once])
    rows = []
    for name, column in zip(looked_at(task), judged(truth, told, np.ones((1, len(truth)))),
                            strict=True):  # fmt: skip
        _, probability, share, weight = (value[0] for value in binned(*column))
        for b in range(BINS):
            low, high = _wilson(share[b], weight[b])
            edges = (b / BINS, (b + 1) / BINS)
            rows.append([name, *edges, int(weight[b]), probability[b], share[b], low, high])
    columns = ["name", "low", "high", "n", "probability", "share", "share_low", "share_high"]
    return pd.DataFrame(rows, columns=columns)


def looked_at(task: Classification) -> tuple[str, ...]:
    """Return whose probability is held against what happened."""
    if len(task.columns) > 1:
        return task.names
    return task.names[1:] if len(task.names) == 2 else ("predicted class",)


def _wilson(share: float, n: float) -> tuple[float, float]:
    if not n:
        return np.nan, np.nan
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


@house_style()
def draw_reliability(table: pd.DataFrame, title: str) -> Figure:
    """Return share against probability, and below how many patients are in each bin."""
    names = list(dict.fromkeys(table["name"]))
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = new_figure(max(3.8, 2.9 * columns + 0.6), 4.0 * rows)
    grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True,
                           height_ratios=[4, 1] * rows)  # fmt: skip
    for k, name in enumerate(names):
        row, column = divmod(k, columns)
        own = table[(table["name"] == name) & (table["n"] > 0)]
        axes, below = grid[2 * row, column], grid[2 * row + 1, column]
        axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls="--", zorder=0)
        error = [own["share"] - own["share_low"], own["share_high"] - own["share"]]
        axes.errorbar(own["probability"], own["share"], yerr=np.abs(error), fmt="o", ms=4.5,
                      color=BLUE, elinewidth=1, ecolor=MUTED, clip_on=False)  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(name, fontsize=9)
        below.bar((own["low"] + own["high"]) / 2, own["n"], 1 / BINS, color=FAINT, ec="white")
        below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        below.set_xlabel("predicted probability")
        if not column:
            axes.set_ylabel("share that happened")
            below.set_ylabel("n")
    for k in range(len(names), rows * columns):
        row, column = divmod(k, columns)
        grid[2 * row, column].set_visible(False)
        grid[2 * row + 1, column].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure
