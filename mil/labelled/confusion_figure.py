"""What was taken for what: confusion matrices of test parts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mil.figures import INK, MUTED, house_style, new_figure
from mil.labelled.class_metrics import confusion
from mil.labelled.predictions import LabelFold, each_once
from mil.tasks.classification import Classification


def confusion_table(folds: Sequence[LabelFold], task: Classification) -> pd.DataFrame:
    """Return ``label, truth, predicted, n`` over all test parts, each patient (or slide) once.

    A fold's decisions are by its own threshold, chosen on its validation part.
    """
    once = each_once(folds)
    truth = np.concatenate([fold.test.truth for fold in once])
    predicted = np.concatenate([fold.decided for fold in once])
    if truth.ndim == 1:
        truth, predicted = truth[:, None], predicted[:, None]
    rows = []
    for k, label in enumerate(task.columns):
        known = ~np.isnan(truth[:, k])
        counts = np.ones((1, int(known.sum())))
        table = confusion(truth[known, k], predicted[known, k], counts, len(task.classes))[0]
        for i, is_class in enumerate(task.classes):
            for j, taken in enumerate(task.classes):
                rows.append([label, is_class, taken, int(table[i, j])])
    return pd.DataFrame(rows, columns=["label", "truth", "predicted", "n"])


@house_style()
def draw_confusion(table: pd.DataFrame, task: Classification, title: str) -> Figure:
    """Return one matrix a label, rows the truth; colour is the share of the row."""
    labels, classes = list(task.columns), list(task.classes)
    side = max(2.6, 0.62 * len(classes) + 1.5)
    figure = new_figure(max(3.4, side * len(labels) + 0.4), side + 0.5)
    panels = np.atleast_1d(figure.subplots(1, len(labels)))
    for axes, label in zip(panels, labels, strict=True):
        own = table[table["label"] == label]
        counts = own.pivot(index="truth", columns="predicted", values="n")
        _draw(axes, counts.loc[classes, classes].to_numpy(), classes)
        axes.set_ylabel(label)
        axes.set_xlabel("predicted")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _draw(axes: Axes, counts: np.ndarray, classes: Sequence[str]) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(counts.shape):
        colour = "white" if shares[i, j] > 0.55 else INK
        cell = f"{counts[i, j]}\n{shares[i, j]:.0%}"
        axes.text(j, i, cell, ha="center", va="center", color=colour, fontsize=9)
    places = range(len(classes))
    turned = {"rotation": 30, "ha": "right"} if max(map(len, classes)) > 8 else {}
    axes.set_xticks(places, classes, **turned)
    axes.set_yticks(places, classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks([place - 0.5 for place in places[1:]], minor=True)
    axes.set_yticks([place - 0.5 for place in places[1:]], minor=True)
    axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="minor", length=0, color=MUTED)
