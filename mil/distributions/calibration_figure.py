"""D-calibration as a histogram, and as a plot of predicted against observed shares."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binom

from mil.distributions.no_figure import no_figure
from mil.figures import BLUE, INK, MUTED, house_style, new_figure
from mil.fold_predictions import FoldPredictions
from mil.probability_metrics import pooled_calibration, probability_integrals
from mil.survival.metrics.calibration import d_calibration

COLUMNS = ["low", "high", "patients", "expected", "p_value", "n", "events"]
FINE = 100  # bins of the plot


def calibration_table(folds: Sequence[FoldPredictions]) -> pd.DataFrame:
    """Return patients by their survival probability at the observed time, in 100 equal bins.

    Censored patients are spread below theirs. ``p_value`` is that of the test on ten bins. Empty
    where survival is not known at exact times.
    """
    found = pooled_calibration(folds)
    if found is None or found.reason:
        return pd.DataFrame(columns=COLUMNS)
    fine = d_calibration(*probability_integrals(folds), bins=FINE)
    edges = np.linspace(0, 1, FINE + 1)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "patients": fine.totals,
            "expected": found.n / FINE,
            "p_value": found.p_value,
            "n": found.n,
            "events": found.events,
        }
    )


@house_style()
def draw_calibration(table: pd.DataFrame, title: str) -> Figure:
    """Return ten bars that are equally high, and a line on the diagonal, if calibrated."""
    if not len(table):
        return no_figure(title, "Survival is not known at exact times: no D-calibration.")
    n, p = int(table["n"].iloc[0]), table["p_value"].iloc[0]
    figure = new_figure(8.6, 4.0)
    left, right = figure.subplots(1, 2)
    shares = table["patients"].to_numpy().reshape(10, -1).sum(axis=1) / n
    low, high = binom.ppf([0.025, 0.975], n, 0.1) / n
    left.bar(np.arange(10) / 10, shares, 0.1, align="edge", color=BLUE, alpha=0.6, ec="white")
    left.axhline(0.1, color=INK, lw=0.9, ls="--", label="calibrated")
    for k, bound in enumerate((low, high)):
        left.axhline(bound, color=INK, lw=0.9, ls=":", label="" if k else "95 % of chance")
    left.set_xlim(0, 1)
    left.set_xlabel("Predicted survival at the observed time")
    left.set_ylabel("Share of patients")
    words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    left.set_title(f"D-calibration, {words}", fontsize=9)
    left.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)

    observed = np.append(0, np.cumsum(table["patients"]) / n)
    predicted = np.append(0, table["high"])
    right.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls="--")
    right.plot(predicted, observed, color=BLUE)
    right.set_xlim(0, 1)
    right.set_ylim(0, 1)
    right.set_aspect("equal")
    right.set_xlabel("Predicted probability")
    right.set_ylabel("Observed share at or below it")
    right.set_title("PP plot: on the line if calibrated", fontsize=9)
    events = int(table["events"].iloc[0])
    figure.suptitle(f"{title}: n = {n}, {events} events", x=0.01, ha="left", fontsize=10, color=INK)
    return figure
