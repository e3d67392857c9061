"""Kaplan-Meier curves of the risk groups, with the number at risk under them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mil.figures import BLUE, MUTED, VERMILLION, house_style, new_figure
from mil.risk_groups import RiskGroups
from mil.survival.metrics.kaplan_meier import KaplanMeier

COLOURS = {"low": BLUE, "high": VERMILLION}


OF_FOLDS = (
    "Threshold: median risk of each fold's training part. Folds are pooled by group, the "
    "test is stratified by fold."
)


@house_style()
def draw_kaplan_meier(
    groups: RiskGroups, permutation_p: float, title: str, unit: str, footnote: str = OF_FOLDS
) -> Figure:
    """Return the pooled curves with 95 % bands, the stratified test and the numbers at risk."""
    figure = new_figure(6.4, 4.9)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    curves = groups.curves()
    for group, curve in curves.items():
        _draw_curve(top, group, curve, unit)
    top.set_ylim(0, 1.03)
    top.set_ylabel("Event-free survival")
    top.set_title(f"{title}\n{_sentence(groups, permutation_p)}", fontsize=9.5)
    if curves:
        top.legend(loc="upper right")
    else:
        top.text(0.5, 0.5, "no curve", transform=top.transAxes, ha="center", color=MUTED)
    end = max((curve.time[-1] for curve in curves.values()), default=1.0)
    top.set_xlim(0, end * 1.02)
    _write_at_risk(below, curves, end)
    below.set_xlabel(f"Time ({unit})")
    figure.supxlabel(footnote, fontsize=7.5, color=MUTED)
    return figure


def _draw_curve(axes: Axes, group: str, curve: KaplanMeier, unit: str) -> None:
    colour = COLOURS[group]
    median = curve.median[0]
    digits = 0 if median >= 100 else 1
    reached = f"{median:,.{digits}f} {unit}" if np.isfinite(median) else "not reached"
    label = (
        f"{group} risk: n = {int(curve.at_risk[0])}, {int(curve.events.sum())} events, "
        f"median {reached}"
    )
    style = "solid" if group == "high" else (0, (5, 1.5))  # told apart without colour, too
    axes.step(curve.time, curve.survival, where="post", color=colour, ls=style, label=label)
    axes.fill_between(
        curve.time, curve.low, curve.high, step="post", color=colour, alpha=0.15, lw=0
    )
    left = curve.censored > 0
    axes.plot(curve.time[left], curve.survival[left], "|", color=colour, ms=5, mew=0.9)


def _write_at_risk(axes: Axes, curves: dict[str, KaplanMeier], end: float) -> None:
    """Write the numbers at risk, a line a group, at the ticks of the time axis."""
    ticks = MaxNLocator(nbins=7, steps=[1, 2, 3, 5, 6, 10]).tick_values(0, end)
    ticks = ticks[(ticks >= 0) & (ticks <= end)]
    axes.set_xticks(ticks)
    rows = list(reversed(curves))  # high risk above low risk
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"{group} risk" for group in rows])
    axes.set_title("Number at risk", fontsize=8.5, color=MUTED)
    axes.tick_params(axis="y", length=0, pad=14)  # beside the number at time 0
    axes.spines["left"].set_visible(False)
    for y, group in enumerate(rows):
        axes.get_yticklabels()[y].set_color(COLOURS[group])
        for tick, count in zip(ticks, curves[group].number_at_risk(ticks), strict=True):
            axes.text(tick, y, f"{int(count)}", ha="center", va="center", color=COLOURS[group])


def _sentence(groups: RiskGroups, permutation_p: float) -> str:
    test = groups.test()
    if np.isnan(test.p_value):
        return "; ".join(part for part in (test.reason, groups.reason) if part)
    p = _p_value(test.p_value)
    sentence = f"log-rank {p}, by permutation {_p_value(permutation_p)}"
    return f"{sentence} ({groups.reason})" if groups.reason else sentence


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
