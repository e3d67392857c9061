"""Training curves of all folds: losses, and the chosen epoch."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mil.figures import BLUE, GREEN, MUTED, PURPLE, VERMILLION, house_style, new_figure
from mil.problems import InputError
from wsi.storage import atomic

# Axis label, then column -> (legend, colour, line). The two sides of the adversarial game differ in
# size by orders of magnitude: each has an axis of its own.
_BLOCKS = [
    (
        "supervised loss",
        {
            "train_loss": ("training", BLUE, "solid"),
            "validation_loss": ("validation", VERMILLION, (0, (4, 1.2))),
        },
    ),
    ("discriminator", {"discriminator_loss": ("discriminator's loss", GREEN, "solid")}),
    ("generator", {"adversarial_loss": ("generator's weighted adversarial loss", PURPLE, "solid")}),
]
_IN_A_ROW = 5


def read_histories(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the histories of all folds under each other, with the fold in the first column.

    Raises
    ------
    InputError : a history without the columns that are drawn.
    """
    tables = [pd.read_csv(path) for path in paths]
    needed = ["epoch", "train_loss", "validation_loss", "chosen"]
    problems = [
        f"{path}: no column {column}; train_model writes it."
        for path, table in zip(paths, tables, strict=True)
        for column in needed
        if column not in table
    ]
    if problems:
        raise InputError(problems)
    for fold, table in enumerate(tables):
        table.insert(0, "fold", fold)
    return pd.concat(tables, ignore_index=True)


def write_training_curves(path: str | Path, histories: pd.DataFrame) -> None:
    """Write what the figure shows, and the other columns of the histories."""
    with atomic(path) as partial:
        histories.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")


@house_style()
def draw_training_curves(histories: pd.DataFrame, title: str) -> Figure:
    """Return one panel a fold; of an adversarial head two more, for the two sides of its game."""
    folds = list(histories.groupby("fold"))
    blocks = [
        (label, lines)
        for label, lines in _BLOCKS
        if any(column in histories and histories[column].notna().any() for column in lines)
    ]
    columns = min(len(folds), _IN_A_ROW)
    rows = -(-len(folds) // columns)  # of each block
    height = 1.75 * rows * len(blocks) + 0.9
    figure = new_figure(max(5.2, 2.1 * columns + 0.6), height)
    grid = figure.add_gridspec(rows * len(blocks), columns)
    handles = {}
    for b, (label, lines) in enumerate(blocks):
        first = None
        for k, (fold, history) in enumerate(folds):
            row, column = divmod(k, columns)
            first = panel = figure.add_subplot(
                grid[b * rows + row, column], sharex=first, sharey=first
            )
            _draw_losses(panel, history, lines)
            handles |= {h.get_label(): h for h in panel.get_legend_handles_labels()[0]}
            if not b or rows > 1:
                panel.set_title(f"fold {fold}", fontsize=9)
            panel.tick_params(labelleft=not column)
            if not column:
                panel.set_ylabel(label)
            if b == len(blocks) - 1 and k + columns >= len(folds):  # no panel below
                panel.set_xlabel("epoch")
    entries = list(handles.values())
    figure.legend(handles=entries, loc="outside lower center", ncols=min(3, columns + 1))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _draw_losses(panel: Axes, history: pd.DataFrame, lines: dict[str, tuple]) -> None:
    chosen = history[history["chosen"] == 1]
    for epoch in chosen["epoch"]:
        panel.axvline(epoch, color=MUTED, lw=0.9, ls=":", label="chosen epoch")
    for column, (label, colour, style) in lines.items():
        if column not in history:
            continue
        marker = "." if len(history) < 3 else None  # a line needs two points
        line = {"color": colour, "ls": style, "lw": 1.3, "marker": marker, "label": label}
        panel.plot(history["epoch"], history[column], **line)
        panel.plot(chosen["epoch"], chosen[column], "o", color=colour, ms=4)
