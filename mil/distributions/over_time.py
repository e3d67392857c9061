"""AUC and Brier score along the follow-up, beside the curve of the training part for everybody."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mil.distributions.no_figure import no_figure
from mil.figures import BLUE, MUTED, VERMILLION, house_style, new_figure
from mil.fold_predictions import FoldPredictions
from mil.survival.metrics.bootstrap import bootstrap_means, percentile_interval, ratio
from mil.survival.metrics.bootstrap_auc import AUCFold, auc_of_draws, bootstrap_auc
from mil.survival.metrics.brier import brier_parts, marginal_curves

POINTS = 30
COLUMNS = ["time", "auc", "auc_low", "auc_high", "brier", "brier_low", "brier_high", "brier_km"]


def scores_over_time(folds: Sequence[FoldPredictions], bootstrap: int, seed: int) -> pd.DataFrame:
    """Return AUC and Brier score at times that all folds can judge, with 95 % intervals.

    AUC: cases against controls of their own fold, folds weighted by pairs. Brier score and that of
    the training part's Kaplan-Meier curve (``brier_km``): means over folds; NaN where the head has
    no survival curves. No rows where folds share no times.
    """
    grids = [fold.grid for fold in folds]
    if any(len(grid) < 2 for grid in grids):
        return pd.DataFrame(columns=COLUMNS)
    start, end = max(grid[0] for grid in grids), min(grid[-1] for grid in grids)
    if start >= end:
        return pd.DataFrame(columns=COLUMNS)
    times = np.linspace(start, end, POINTS)
    return pd.DataFrame(
        {
            "time": times,
            **_auc(folds, times, bootstrap, seed),
            **_brier(folds, times, bootstrap, seed),
        }
    )


def _auc(
    folds: Sequence[FoldPredictions], times: np.ndarray, bootstrap: int, seed: int
) -> dict[str, np.ndarray]:
    asked = [AUCFold(*fold.triple, times, *fold.training) for fold in folds]
    whole = [auc_of_draws(fold, np.ones((1, len(fold.time)))) for fold in asked]
    drawn = bootstrap_auc(asked, bootstrap, seed, [fold.patients for fold in folds])
    value, draws = (
        ratio(sum(one.score for one in found), sum(one.pairs for one in found))
        for found in (whole, drawn)
    )
    return {"auc": value[0], **_band("auc", draws)}


def _brier(
    folds: Sequence[FoldPredictions], times: np.ndarray, bootstrap: int, seed: int
) -> dict[str, np.ndarray]:
    if any(fold.curves is None for fold in folds):
        return dict.fromkeys(COLUMNS[4:], np.nan)
    labels = [(fold.test["time"], fold.test["event"], *fold.training) for fold in folds]
    parts = [
        brier_parts(fold.curves.at(times), times, *own)
        for fold, own in zip(folds, labels, strict=True)
    ]
    marginal = [
        brier_parts(marginal_curves(times, len(fold.test), *fold.training), times, *own)
        for fold, own in zip(folds, labels, strict=True)
    ]
    patients = [fold.patients for fold in folds]
    draws = np.stack(
        [
            bootstrap_means(
                [(p[:, k], np.ones(len(p))) for p in parts], bootstrap, seed, patients
            ).mean(axis=1)
            for k in range(len(times))
        ],
        axis=1,
    )
    means = (np.mean([p.mean(axis=0) for p in each], axis=0) for each in (parts, marginal))
    return dict(zip(("brier", "brier_km"), means, strict=True)) | _band("brier", draws)


def _band(name: str, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Return the percentile interval at every time, [m] each; NaN where it is withheld."""
    intervals = [percentile_interval(column) for column in draws.T]
    return {
        f"{name}_low": np.array([interval.low for interval in intervals]),
        f"{name}_high": np.array([interval.high for interval in intervals]),
    }


@house_style()
def draw_over_time(table: pd.DataFrame, title: str, unit: str) -> Figure:
    """Return the AUC, and the Brier score where there is one, with their bands."""
    if not len(table):
        return no_figure(title, "The folds share no times to be judged at.")
    brier = table["brier"].notna().any()
    figure = new_figure(8.6 if brier else 4.6, 3.4)
    panels = np.atleast_1d(figure.subplots(1, 2 if brier else 1))
    _draw_band(panels[0], table, "auc")
    panels[0].axhline(0.5, color=MUTED, lw=0.9, ls="--")
    panels[0].set_ylabel("AUC(u)")
    panels[0].set_title("Who fails by u against who lives on (0.5: a coin)", fontsize=9)
    if brier:
        _draw_band(panels[1], table, "brier")
        panels[1].plot(table["time"], table["brier_km"], color=VERMILLION, ls=(0, (4, 1.5)),
                       label="Kaplan-Meier of the training part")  # fmt: skip
        panels[1].set_ylim(bottom=0)
        panels[1].set_ylabel("Brier score at u")
        panels[1].set_title("Error of the predicted survival (lower is better)", fontsize=9)
        panels[1].legend(loc="lower right")
    for panel in panels:
        panel.set_xlabel(f"Time u ({unit})")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _draw_band(axes: Axes, table: pd.DataFrame, name: str) -> None:
    axes.fill_between(table["time"], table[f"{name}_low"], table[f"{name}_high"], color=BLUE,
                      alpha=0.18, lw=0)  # fmt: skip
    axes.plot(table["time"], table[name], color=BLUE, label="model, with 95 % interval")
