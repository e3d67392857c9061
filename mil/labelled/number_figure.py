"""Predicted against measured numbers of test parts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mil.figures import BLUE, FAINT, house_style, new_figure
from mil.labelled.predictions import LabelFold, each_once


def number_table(folds: Sequence[LabelFold]) -> pd.DataFrame:
    """Return ``fold, id, measured, predicted`` of the test parts, each once."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "fold": fold.fold,
                    "id": fold.test.ids,
                    "measured": fold.test.truth,
                    "predicted": fold.test.told,
                }
            )
            for fold in each_once(folds)
        ],
        ignore_index=True,
    )


@house_style()
def draw_numbers(table: pd.DataFrame, name: str, title: str) -> Figure:
    """Return a point for each patient or slide, and the line of right predictions."""
    figure = new_figure(4.4, 4.2)
    axes = figure.subplots()
    values = table[["measured", "predicted"]].to_numpy(np.float64)
    ends = [values.min(), values.max()] if len(values) else [0.0, 1.0]
    axes.plot(ends, ends, color=FAINT, lw=1, ls="--", zorder=0)
    axes.plot(table["measured"], table["predicted"], "o", ms=4, mfc="none", color=BLUE)
    axes.set_xlabel(f"{name}, measured")
    axes.set_ylabel(f"{name}, predicted")
    axes.set_title(title)
    margin = 0.04 * max(np.ptp(ends), 1e-9)
    axes.set_xlim(ends[0] - margin, ends[1] + margin)
    axes.set_ylim(ends[0] - margin, ends[1] + margin)
    return figure
