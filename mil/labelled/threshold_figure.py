"""What every threshold would give: ROC and precision-recall curves of test parts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mil.figures import (
    BLUE,
    FAINT,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    house_style,
    new_figure,
)
from mil.labelled.class_metrics import one_against_others
from mil.labelled.predictions import LabelFold
from mil.tasks.classification import Classification

GRID = np.linspace(0, 1, 101)
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, MUTED)
LINES = ("solid", (0, (5, 1.5)), (0, (1, 1)))


def roc_points(truth: NDArray, score: NDArray) -> tuple[NDArray, NDArray]:
    """Return false and true positive rate at every threshold, from none to all."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # ties move together
    right = truth[order].cumsum()[last]
    return (
        np.concatenate([[0], (last + 1 - right) / max((~truth).sum(), 1)]),
        np.concatenate([[0], right / max(truth.sum(), 1)]),
    )


def precision_points(truth: NDArray, score: NDArray) -> tuple[NDArray, NDArray]:
    """Return recall and precision at every threshold that finds somebody."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    right = truth[order].cumsum()[last]
    return right / max(truth.sum(), 1), right / (last + 1)


def threshold_table(folds: Sequence[LabelFold], task: Classification) -> pd.DataFrame:
    """Return ``curve, name, fold, x, y``: curves of each fold, and their mean on a grid.

    Folds are not pooled: each model has a scale of its own. ROC is joined by straight lines;
    precision at a recall is that of the first threshold that reaches it.
    """
    rows = []
    names = task.names[1:] if len(task.names) == 2 and len(task.columns) == 1 else task.names
    for place, name in enumerate(names):
        means: dict[str, list[NDArray]] = {"roc": [], "precision_recall": []}
        for fold in folds:
            ones = np.ones((1, len(fold.test)))
            truth, score, _ = one_against_others(fold.test.truth, fold.test.told, ones)[place]
            if truth.all() or not truth.any():
                continue
            x, y = roc_points(truth, score)
            means["roc"].append(np.interp(GRID, x, y))
            rows += [["roc", name, fold.fold, *point] for point in zip(x, y, strict=True)]
            recall, precision = precision_points(truth, score)
            reached = np.searchsorted(recall, GRID - 1e-9)
            means["precision_recall"].append(precision[reached])
            points = zip(recall, precision, strict=True)
            rows += [["precision_recall", name, fold.fold, *point] for point in points]
        for curve, own in means.items():
            if own:
                points = zip(GRID, np.mean(own, axis=0), strict=True)
                rows += [[curve, name, "mean", *point] for point in points]
    return pd.DataFrame(rows, columns=["curve", "name", "fold", "x", "y"])


@house_style()
def draw_thresholds(table: pd.DataFrame, folds: Sequence[LabelFold], task: Classification,
                    title: str) -> Figure:  # fmt: skip
    """Return ROC beside precision and recall: the mean over folds, of one class each fold too.

    Of one fold, or an ensemble, it is that one's own.
    """
    several = len(folds) > 1
    figure = new_figure(7.2, 3.9)
    panels = dict(zip(("roc", "precision_recall"), figure.subplots(1, 2), strict=True))
    names = list(dict.fromkeys(table["name"]))
    for curve, axes in panels.items():
        for k, name in enumerate(names):
            own = table[(table["curve"] == curve) & (table["name"] == name)]
            step = {"drawstyle": "steps-pre"} if curve != "roc" else {}
            style = {"color": COLOURS[k % len(COLOURS)], "ls": LINES[k // len(COLOURS) % 3]}
            if several and len(names) == 1:
                for fold in sorted(set(own["fold"]) - {"mean"}):
                    points = own[own["fold"] == fold]
                    axes.plot(points["x"], points["y"], color=MUTED, lw=0.7, alpha=0.8,
                              label="one fold", **step)  # fmt: skip
            shown = own[(own["fold"] == "mean") == several]
            style |= {"label": f"{name}, mean over folds"} if several else {"label": name, **step}
            axes.plot(shown["x"], shown["y"], lw=2, **style)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.02)
        axes.set_aspect("equal")
    roc, precision = panels.values()
    roc.plot([0, 1], [0, 1], color=FAINT, lw=1, ls="--", zorder=0, label="a coin")
    roc.set_xlabel("1 - specificity")
    roc.set_ylabel("sensitivity")
    for k, share in enumerate(_shares(folds, task, names)):
        colour = FAINT if len(names) == 1 else COLOURS[k % len(COLOURS)]
        precision.axhline(share, color=colour, lw=0.8, ls="--", zorder=0)
    precision.set_xlabel("recall (sensitivity)")
    precision.set_ylabel("precision")
    handles, labels = roc.get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))
    figure.legend(legend.values(), legend, loc="outside lower center", ncols=min(len(legend), 3))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _shares(folds: Sequence[LabelFold], task: Classification, names: Sequence[str]) -> list[float]:
    """Return the share of each class among the tested: the precision of a coin."""
    columns = [
        one_against_others(fold.test.truth, fold.test.told, np.ones((1, len(fold.test))))
        for fold in folds
    ]
    wanted = task.names[1:] if len(task.names) == 2 and len(task.columns) == 1 else task.names
    return [
        float(np.concatenate([own[wanted.index(name)][0] for own in columns]).mean())
        for name in names
    ]
