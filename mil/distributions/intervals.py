"""Predicted intervals of all test patients: how wide they are, and whether that means anything."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mil.distributions.no_figure import no_figure
from mil.figures import BLUE, INK, MUTED, VERMILLION, house_style, new_figure
from mil.fold_predictions import FoldPredictions, first_repeat
from mil.survival.curves import LEVELS

COLLAPSED = 0.01  # median IQR / median under which draws are read as a point
BANDS = ((0.95, 0.18), (0.8, 0.3), (0.5, 0.5))  # level and how dark


def predicted_intervals(folds: Sequence[FoldPredictions]) -> pd.DataFrame:
    """Return a row a test patient, each once; empty where the head has no curves.

    Columns: patient_id, fold, time, event, median, ``low_<level>`` and ``high_<level>`` of the
    central intervals (infinite where a curve does not come down so far), and spread, the
    interquartile range over the median.
    """
    ends = [f"{end}_{100 * level:.0f}" for level in LEVELS for end in ("low", "high")]
    columns = ["patient_id", "fold", "time", "event", "median", *ends, "spread"]
    if any(fold.curves is None for fold in folds):
        return pd.DataFrame(columns=columns)
    tables = []
    for fold in first_repeat(folds):
        table = fold.test.assign(fold=fold.fold, median=fold.curves.median)
        for level in LEVELS:
            name = f"{100 * level:.0f}"
            table[f"low_{name}"], table[f"high_{name}"] = fold.curves.interval(level)
        with np.errstate(invalid="ignore", divide="ignore"):
            table["spread"] = (table["high_50"] - table["low_50"]) / table["median"].abs()
        tables.append(table[columns])
    return pd.concat(tables, ignore_index=True).sort_values(
        ["median", "low_50", "low_80", "low_95", "patient_id"], kind="stable", ignore_index=True
    )


@house_style()
def draw_intervals(table: pd.DataFrame, title: str, unit: str) -> Figure:
    """Return the intervals sorted by their median, their width against the error, the spread."""
    if not len(table):
        return no_figure(title, "This head predicts no intervals.")
    figure = new_figure(9.2, 6.6)
    panels = figure.subplot_mosaic([["fan", "fan"], ["error", "spread"]], height_ratios=[1.25, 1])
    _draw_fan(panels["fan"], table, unit)
    _draw_errors(panels["error"], table, unit)
    _draw_spread(panels["spread"], table["spread"])
    figure.suptitle(f"{title}: n = {len(table)}, {int(table['event'].sum())} events", x=0.01,
                    ha="left", fontsize=10)  # fmt: skip
    return figure


def _draw_fan(axes: Axes, table: pd.DataFrame, unit: str) -> None:
    place = np.arange(len(table))
    top = _top(table)
    for level, dark in BANDS:
        low, high = (table[f"{end}_{100 * level:.0f}"].clip(upper=top) for end in ("low", "high"))
        axes.bar(place, high - low, 1, bottom=low, color=BLUE, alpha=dark, lw=0,
                 label=f"{100 * level:.0f} % interval")  # fmt: skip
    reached = np.isfinite(table["median"])
    axes.plot(place[reached], table["median"][reached], "_", color=INK, ms=4, label="median")
    event = table["event"] == 1
    size = 4 if len(table) <= 200 else 2.5
    axes.plot(place[event], table["time"][event], "o", ms=size, color=VERMILLION, label="event")
    axes.plot(place[~event], table["time"][~event], "^", ms=size, mfc="white", mec=MUTED, mew=0.8,
              label="censored")  # fmt: skip
    axes.set_ylim(0, top)
    axes.set_xlim(-1, len(table))
    axes.set_xlabel("Test patients by predicted median")
    axes.set_ylabel(f"Time ({unit})")
    open_ends = int(np.isinf(table["high_80"]).sum())
    note = f"; {open_ends} of the 80 % intervals have no upper end" if open_ends else ""
    axes.set_title(f"Predicted intervals and what was observed{note}", fontsize=9)
    axes.legend(ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1.06), columnspacing=1)


def _draw_errors(axes: Axes, table: pd.DataFrame, unit: str) -> None:
    """Draw the width of the 80 % interval against the error of the median, events alone."""
    width = table["high_80"] - table["low_80"]
    error = (table["median"] - table["time"]).abs()
    drawn = (table["event"] == 1) & np.isfinite(width) & np.isfinite(error)
    axes.plot(width[drawn], error[drawn], "o", ms=3.5, color=VERMILLION, alpha=0.7, mew=0)
    axes.set_xlabel(f"Width of the 80 % interval ({unit})")
    axes.set_ylabel(f"Error of the median ({unit})")
    if drawn.sum() > 2 and width[drawn].nunique() > 1 and error[drawn].nunique() > 1:
        rho = width[drawn].rank().corr(error[drawn].rank())
        axes.set_title(f"Events: {drawn.sum()}, rank correlation {rho:.2f}", fontsize=9)
    else:
        axes.set_title(f"Events with an interval: {drawn.sum()}", fontsize=9)
    if drawn.any():
        axes.set_ylim(bottom=0)


def _draw_spread(axes: Axes, spread: pd.Series) -> None:
    known = spread[np.isfinite(spread) & (spread > 0)]
    axes.set_xlabel("Interquartile range / median")
    axes.set_ylabel("Patients")
    axes.axvline(COLLAPSED, color=VERMILLION, lw=1.2, ls=(0, (4, 1.5)))
    axes.set_xscale("log")
    if not len(known):
        axes.set_title("No interquartile range is known", fontsize=9)
        return
    low, high = min(known.min(), COLLAPSED / 2), max(known.max(), 2 * COLLAPSED) * 1.2
    axes.hist(known, np.geomspace(low, high, 40), color=BLUE, alpha=0.7)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    middle = known.median()
    missing = len(spread) - len(known)
    without = f", {missing} without" if missing else ""
    axes.set_title(f"Spread of a patient: median {middle:.2g}{without}", fontsize=9)
    where = {"transform": axes.get_xaxis_transform(), "color": VERMILLION, "va": "top"}
    axes.text(COLLAPSED * 1.15, 0.97, "collapsed\nto the left", fontsize=8, **where)


def _top(table: pd.DataFrame) -> float:
    """Return the top of the time axis: observed times, and intervals within reason."""
    ends = table["high_95"][np.isfinite(table["high_95"])]
    observed = table["time"].max()
    reach = ends.quantile(0.98) if len(ends) else observed
    return float(1.05 * max(observed, min(reach, 2 * observed)))
