"""Curves of a few patients: predicted survival, where its probability lies, and what happened."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mil.distributions.no_figure import no_figure
from mil.figures import BLUE, FAINT, INK, MUTED, VERMILLION, house_style, new_figure
from mil.fold_predictions import FoldPredictions, first_repeat

QUANTILES = (0.1, 0.5, 0.9)  # of the risk within a test part
BINS = 24  # of the histogram over the time axis
COLUMNS = (
    "patient_id fold quantile risk_percentile time event median straight known_until knot survival"
).split()


def chosen_patients(folds: Sequence[FoldPredictions]) -> pd.DataFrame:
    """Return the curves of one event and one censored patient near each quantile of the risk.

    Returns
    -------
    A row a knot of each curve: patient_id, fold, quantile, risk_percentile (within the fold's test
    part), time, event, median, straight (lines between knots, else steps), known_until (flat and
    not known after it), knot, survival. Empty where the head has no curves.
    """
    if any(fold.curves is None for fold in folds):
        return pd.DataFrame(columns=COLUMNS)
    people = pd.concat(
        [
            fold.test.assign(
                fold=fold.fold,
                row=range(len(fold.test)),
                risk_percentile=100 * (fold.test["risk"].rank() - 0.5) / max(len(fold.test), 1),
                median=fold.curves.median,
            )
            for fold in first_repeat(folds)
        ],
        ignore_index=True,
    )
    people = people[people["median"].notna()]
    tables = []
    for event in (1, 0):
        left = people[people["event"] == event]
        for quantile in QUANTILES:
            if not len(left):
                break
            away = (left["risk_percentile"] - 100 * quantile).abs()
            one = left.loc[away.idxmin()]
            left = left.drop(index=one.name)
            curves = folds[one["fold"]].curves.rows([one["row"]])
            known = {name: one[name] for name in COLUMNS if name in one}
            tables.append(
                pd.DataFrame(
                    {
                        **known,
                        "quantile": quantile,
                        "straight": int(curves.straight),
                        "known_until": curves.end,
                        "knot": np.append(0.0, curves.knots[0]),
                        "survival": np.append(1.0, curves.survival[0]),
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else people[[]]


@house_style()
def draw_chosen_patients(table: pd.DataFrame, title: str, unit: str) -> Figure:
    """Return two panels a patient: the probability in equal stretches of time, and the curve."""
    if not len(table):
        return no_figure(title, "This head predicts no survival curve.")
    people = list(table.groupby(["event", "quantile"], sort=False))
    end = _end(table)
    figure = new_figure(9.2, 6.2)
    grid = figure.add_gridspec(4, len(QUANTILES), height_ratios=[1, 2.2, 1, 2.2])
    tops: list[Axes] = []
    for (event, quantile), curve in people:
        row, column = 2 * int(event == 0), QUANTILES.index(quantile)
        top = figure.add_subplot(grid[row, column], sharey=tops[0] if tops else None)
        below = figure.add_subplot(grid[row + 1, column], sharex=top)
        tops.append(top)
        _draw_patient(top, below, curve, end)
        for axes, label in ((top, "probability"), (below, "survival")):
            axes.tick_params(labelleft=not column)
            axes.set_ylabel(label if not column else "")
        if row:
            below.set_xlabel(f"Time ({unit})")
        below.tick_params(labelbottom=bool(row))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _draw_patient(top: Axes, below: Axes, curve: pd.DataFrame, end: float) -> None:
    one = curve.iloc[0]
    knots, survival = curve["knot"].to_numpy(), curve["survival"].to_numpy()
    edges = np.linspace(0, end, BINS + 1)
    if one["straight"]:
        at_edges = np.interp(edges, knots, survival)
    else:
        at_edges = survival[np.searchsorted(knots, edges, side="right") - 1]
    top.bar(edges[:-1], -np.diff(at_edges), np.diff(edges), align="edge", color=BLUE, alpha=0.45)
    top.tick_params(labelbottom=False)
    line = below.plot if one["straight"] else partial(below.step, where="post")
    until = min(one["known_until"], end)
    within = knots <= until
    left = survival[within][-1]
    line(np.append(knots[within], until), np.append(survival[within], left), color=BLUE)
    below.plot([until, end], [left, left], color=BLUE, ls=":", lw=1.2)  # flat, not known
    for axes in (top, below):
        axes.set_xlim(0, end)
        if one["event"]:
            axes.axvline(one["time"], color=VERMILLION, lw=1.3)
        else:
            axes.axvspan(one["time"], end, color=FAINT, alpha=0.6, lw=0, zorder=0)
            axes.axvline(one["time"], color=VERMILLION, lw=1.3, ls=(0, (4, 1.5)))
    below.set_ylim(0, 1.03)
    below.axhline(0.5, color=MUTED, lw=0.5, ls=":")
    median = f"median {one['median']:.3g}" if np.isfinite(one["median"]) else "median not reached"
    what = "event" if one["event"] else "censored"
    top.set_title(
        f"{one['patient_id']}: risk percentile {one['risk_percentile']:.0f}\n"
        f"{what} {one['time']:.3g}, {median}",
        fontsize=8.5,
        color=INK,
    )


def _end(table: pd.DataFrame) -> float:
    """Return the end of the time axis: all observed times, and the curves within reason."""
    observed = table["time"].max()
    fallen = table.loc[table["survival"] <= 0.01, ["patient_id", "knot"]]
    ends = fallen.groupby("patient_id")["knot"].min()
    reach = max(ends.max(), observed) if len(ends) else table["knot"].max()
    return float(1.05 * max(observed, min(reach, 1.6 * observed)))
