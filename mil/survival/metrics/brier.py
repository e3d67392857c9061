"""Brier score of survival curves under censoring, and its integral."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.arrays import Floats, checked
from mil.survival.metrics.kaplan_meier import censoring_survival, kaplan_meier


@dataclass(frozen=True)
class IntegratedBrier:
    """The integral over the grid, that of the training Kaplan-Meier curve, and the scaled score.

    ``scaled`` is ``1 - value / reference``: 0 or less means no better than the marginal curve.
    """

    value: float
    reference: float
    scaled: float
    start: float
    end: float
    n: int
    events: int
    n_train: int
    reason: str = ""


def brier_grid(
    train_time: ArrayLike, train_event: ArrayLike, test_time: ArrayLike, points: int = 50
) -> Floats:
    """Return times between the 10 % and 80 % quantiles of training events, inside test follow-up.

    Raises
    ------
    ValueError : no event in the training part.
    """
    train_time, train_event = checked(train_time, train_event)
    if not train_event.any():
        raise ValueError("A grid of times needs an event in the training part.")
    start, end = np.quantile(train_time[train_event], [0.1, 0.8])
    grid = np.linspace(start, end, points)
    test_time = np.asarray(test_time, dtype=np.float64)
    return grid[(grid >= test_time.min()) & (grid < test_time.max())]


def brier_parts(
    survival: ArrayLike,
    grid: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
) -> Floats:
    """Return what each patient adds to the Brier score, [n, m]; their mean is the score.

    Parameters
    ----------
    survival : [n, m], predicted probabilities of being event-free after each time of the grid.
    grid : [m], times; NaN is returned where G of the training part is unknown or 0.
    time, event : [n] each.
    train_time, train_event : the patients on whom G is estimated.

    References
    ----------
    Graf et al., Stat. Med. 1999.
    """
    time, event, survival = checked(time, event, survival=survival)
    grid = np.asarray(grid, dtype=np.float64)
    censoring = censoring_survival(train_time, train_event)
    failed = event[:, None] & (time[:, None] <= grid)  # [n, m]
    beyond = time[:, None] > grid
    with np.errstate(divide="ignore", invalid="ignore"):
        failed_weight = np.where(failed, 1 / censoring.at(time)[:, None], 0)
        beyond_weight = np.where(beyond, 1 / censoring.at(grid), 0)
        parts = survival**2 * failed_weight + (1 - survival) ** 2 * beyond_weight
    known = (grid <= censoring.last) & np.isfinite(parts).all(axis=0)
    return np.where(known, parts, np.nan)


def brier_scores(
    survival: ArrayLike,
    grid: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
) -> Floats:
    """Return the Brier score [m] at every time of the grid, with inverse-censoring weights.

    Parameters as for :func:`brier_parts`.
    """
    return brier_parts(survival, grid, time, event, train_time, train_event).mean(axis=0)


def integrated(parts: ArrayLike, grid: ArrayLike) -> Floats:
    """Return values over the grid, [..., m], averaged over its length by the trapezoid rule."""
    grid = np.asarray(grid, dtype=np.float64)
    return np.trapezoid(parts, grid, axis=-1) / (grid[-1] - grid[0])


def marginal_curves(
    grid: ArrayLike, n: int, train_time: ArrayLike, train_event: ArrayLike
) -> Floats:
    """Return the training part's Kaplan-Meier curve for each of n patients, [n, m]."""
    curve = kaplan_meier(train_time, train_event).at(grid)
    return np.broadcast_to(curve, (n, len(curve)))


def integrated_brier(
    survival: ArrayLike,
    grid: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
) -> IntegratedBrier:
    """Return the Brier score integrated over the grid, beside that of the training curve.

    Parameters as for :func:`brier_scores`; the grid needs two times at least.
    """
    grid = np.asarray(grid, dtype=np.float64)
    n, events, n_train = len(np.asarray(time)), int(np.sum(event)), len(np.asarray(train_time))
    if len(grid) < 2:
        reason = "fewer than two times to integrate over"
        return IntegratedBrier(*[np.nan] * 5, n, events, n_train, reason)
    marginal = marginal_curves(grid, n, train_time, train_event)
    value, reference = (
        float(integrated(brier_scores(curves, grid, time, event, train_time, train_event), grid))
        for curves in (survival, marginal)
    )
    reason = "" if np.isfinite(value) else "the grid reaches beyond the training follow-up"
    scaled = 1 - value / reference if reference else np.nan
    bounds = float(grid[0]), float(grid[-1])
    return IntegratedBrier(value, reference, scaled, *bounds, n, events, n_train, reason)
