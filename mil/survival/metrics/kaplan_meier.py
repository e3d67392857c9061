"""Kaplan-Meier curves of events and of censoring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from mil.survival.metrics.arrays import Floats, checked

_HALF = 0.5 + 1e-12  # a product of fractions that is one half but for rounding


@dataclass(frozen=True)
class KaplanMeier:
    """A right-continuous step function with its band and counts.

    Parameters
    ----------
    time : [k + 1], 0 and the distinct observed times.
    survival, low, high : [k + 1], the estimate and its pointwise log-log Greenwood band; the band
        is NaN where the curve is 0.
    at_risk, events, censored : [k + 1], counts at each time.
    """

    time: Floats
    survival: Floats
    low: Floats
    high: Floats
    at_risk: Floats
    events: Floats
    censored: Floats

    def at(self, times: ArrayLike) -> Floats:
        """Return the survival at times >= 0; flat after the last observed time."""
        return self.survival[np.searchsorted(self.time, times, side="right") - 1]

    def number_at_risk(self, times: ArrayLike) -> Floats:
        """Return how many patients are observed until these times or longer."""
        return np.append(self.at_risk, 0)[np.searchsorted(self.time, times, side="left")]

    @property
    def median(self) -> tuple[float, float, float]:
        """Median time with its interval; infinite where a curve does not come down to one half."""
        return tuple(_first_time(self.time, s) for s in (self.survival, self.low, self.high))


def kaplan_meier(time: ArrayLike, event: ArrayLike, level: float = 0.95) -> KaplanMeier:
    """Return the Kaplan-Meier estimate of the event-free survival.

    Parameters
    ----------
    time : [n], n >= 1.
    event : [n], 1 = event seen, 0 = censored.
    level : coverage of the pointwise band.

    Raises
    ------
    ValueError : no patient, or arrays that do not fit (``arrays.checked``).

    References
    ----------
    Kaplan and Meier, J. Am. Stat. Assoc. 1958; Borgan and Liestol, Scand. J. Stat. 1990 (band).
    """
    knots, at_risk, events, censored = _counts(time, event)
    survival = np.cumprod(1 - events / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(events / (at_risk * (at_risk - events)))
        log_survival = np.log(survival)
        half = ndtri((1 + level) / 2) * np.sqrt(greenwood) / np.abs(log_survival)
        low, high = survival ** np.exp(half), survival ** np.exp(-half)
    before_first = survival == 1
    low[before_first], high[before_first] = 1, 1
    low[survival == 0], high[survival == 0] = np.nan, np.nan
    return KaplanMeier(knots, survival, low, high, at_risk, events, censored)


@dataclass(frozen=True)
class CensoringSurvival:
    """G, the probability of not being censored by a time, with the end of what was observed."""

    time: Floats
    survival: Floats

    @property
    def last(self) -> float:
        """The last observed time; weights beyond it are extrapolations."""
        return float(self.time[-1])

    def at(self, times: ArrayLike) -> Floats:
        """Return G at times >= 0 (right-continuous, flat after the last time)."""
        return self.survival[np.searchsorted(self.time, times, side="right") - 1]


def censoring_survival(time: ArrayLike, event: ArrayLike) -> CensoringSurvival:
    """Return the Kaplan-Meier estimate of censoring; fit it on the training part of a fold.

    At a shared time events happen before censorings, so those who fail there are no longer at risk
    of being censored. (An event curve with flipped indicators is not the same.)

    Parameters
    ----------
    time : [n], n >= 1.
    event : [n], 1 = event seen, 0 = censored.
    """
    knots, at_risk, events, censored = _counts(time, event)
    remaining = np.maximum(at_risk - events, 1)  # 0 only where nobody is left to be censored
    return CensoringSurvival(knots, np.cumprod(1 - censored / remaining))


def _counts(time: ArrayLike, event: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    """Return time 0 and the distinct times with the numbers at risk, failing and censored."""
    time, event = checked(time, event)
    if not len(time):
        raise ValueError("A Kaplan-Meier curve needs at least one patient.")
    knots, which, leaving = np.unique(np.append(time, 0), return_inverse=True, return_counts=True)
    which = which[:-1]  # without the 0 that was put in
    leaving[0] -= 1
    events = np.bincount(which, weights=event, minlength=len(knots))
    at_risk = len(time) - np.cumsum(leaving) + leaving
    return knots, at_risk.astype(np.float64), events, leaving - events


def _first_time(time: Floats, curve: Floats) -> float:
    """Return the first time at which a curve is at or below one half."""
    below = np.flatnonzero(curve <= _HALF)
    return float(time[below[0]]) if len(below) else np.inf
