"""Predicted against observed times."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mil.distributions.no_figure import no_figure
from mil.figures import BLUE, MUTED, VERMILLION, house_style, new_figure
from mil.fold_predictions import FoldPredictions, first_repeat

COLUMNS = ["patient_id", "fold", "time", "event", "predicted_time", "time_flag"]


def predicted_times(folds: Sequence[FoldPredictions]) -> pd.DataFrame:
    """Return observed and predicted time of the test patients, each once."""
    tables = [fold.test.assign(fold=fold.fold)[COLUMNS] for fold in first_repeat(folds)]
    return pd.concat(tables, ignore_index=True)


@house_style()
def draw_times(table: pd.DataFrame, title: str, unit: str) -> Figure:
    """Return events as filled points, censored patients hollow with an arrow to the right."""
    drawn = table[table["predicted_time"].notna()]
    if not len(drawn):
        return no_figure(title, "No test patient has a predicted time.")
    figure = new_figure(5.4, 5.2)
    axes = figure.subplots()
    end = 1.05 * drawn["time"].max()
    top = min(1.05 * max(drawn["predicted_time"].max(), drawn["time"].max()), 2 * end)
    drawn = drawn.assign(predicted_time=drawn["predicted_time"].clip(upper=top))
    axes.plot([0, end], [0, end], color=MUTED, lw=0.9, ls="--", label="predicted = observed")
    event = drawn["event"] == 1
    censored = drawn[~event]
    if len(censored):
        step = 0.02 * end
        axes.quiver(
            censored["time"], censored["predicted_time"], np.full(len(censored), step),
            np.zeros(len(censored)), angles="xy", scale_units="xy", scale=1, color=BLUE,
            width=0.0022, headwidth=4.5, headlength=4.5, headaxislength=4, zorder=2,
        )  # fmt: skip
    axes.plot(censored["time"], censored["predicted_time"], "o", ms=4.5, mfc="white", mec=BLUE,
              mew=0.9,
        clip_on=False, label=f"censored: n = {len(censored)}, the time is later")  # fmt: skip
    axes.plot(drawn["time"][event], drawn["predicted_time"][event], "o", ms=4.5, color=VERMILLION,
              mec="white", mew=0.4, label=f"event: n = {int(event.sum())}")  # fmt: skip
    lowest = min(0.0, drawn["predicted_time"].min())
    axes.set_xlim(0, end)
    axes.set_ylim(1.05 * lowest, top)
    axes.set_xlabel(f"Observed time ({unit})")
    axes.set_ylabel(f"Predicted time ({unit})")
    notes = _notes(table, above=int((table["predicted_time"] > top).sum()))
    axes.set_title("\n".join([title, *notes]))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _notes(table: pd.DataFrame, above: int) -> list[str]:
    """Return what the axes do not tell: medians that are not reached, and times above the top."""
    counts = {
        "not shown, their median is not reached": table["predicted_time"].isna().sum(),
        "at the last edge, their median is not reached": (table["time_flag"] == "last edge").sum(),
        "above the axis, drawn on its top": above,
    }
    return [f"{n} of {len(table)} {words}" for words, n in counts.items() if n]
