"""Time-dependent area under the ROC curve: who fails by u against who lives beyond it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.survival.metrics.arrays import Floats, checked
from mil.survival.metrics.concordance import TIED_RISK
from mil.survival.metrics.kaplan_meier import censoring_survival, kaplan_meier


@dataclass(frozen=True)
class TimeDependentAUC:
    """AUC at every time of the grid, its mean, and the cases and controls behind each."""

    grid: Floats
    auc: Floats
    mean: float
    cases: NDArray[np.int64]
    controls: NDArray[np.int64]
    reason: str = ""


def cumulative_dynamic_auc(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    grid: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
) -> TimeDependentAUC:
    """Return AUC(u): the weighted share of case-control pairs in which the case has more risk.

    Cases failed by u (weight 1/G of their time), controls are observed beyond u; tied risks count
    one half. The mean weighs each time by the drop of the test Kaplan-Meier curve before it.

    Parameters
    ----------
    time, event, risk : [n] each; risk higher is worse.
    grid : [m], increasing; NaN where there is no case or no control.
    train_time, train_event : the patients on whom G is estimated.

    References
    ----------
    Uno et al., J. Am. Stat. Assoc. 2007; Lambert and Chevret, Stat. Methods Med. Res. 2016.
    """
    time, event, risk = checked(time, event, risk=risk)
    grid = np.asarray(grid, dtype=np.float64)
    censoring = censoring_survival(train_time, train_event)
    g = censoring.at(time)
    auc = np.full(len(grid), np.nan)
    cases, controls = np.zeros((2, len(grid)), dtype=np.int64)
    for k, u in enumerate(grid):
        case, control = event & (time <= u), time > u
        cases[k], controls[k] = case.sum(), control.sum()
        if not cases[k] or not controls[k] or u > censoring.last or (g[case] <= 0).any():
            continue
        levels = np.sort(risk[control])
        below = np.searchsorted(levels, risk[case] - TIED_RISK, side="left")
        not_above = np.searchsorted(levels, risk[case] + TIED_RISK, side="right")
        score = (below + not_above) / 2 / controls[k]  # a tie counts one half
        auc[k] = np.average(score, weights=1 / g[case])

    if not len(time):
        return TimeDependentAUC(grid, auc, np.nan, cases, controls, "no patients")
    drop = -np.diff(kaplan_meier(time, event).at(grid), prepend=1.0)
    counted = drop > 0  # a time without a drop has no weight, whether its AUC is defined or not
    if not np.isfinite(auc[counted]).all() or not counted.any():
        reason = "no case or no control, or no training follow-up, at some time of the grid"
        return TimeDependentAUC(grid, auc, np.nan, cases, controls, reason)
    mean = float(np.average(auc[counted], weights=drop[counted]))
    return TimeDependentAUC(grid, auc, mean, cases, controls)
