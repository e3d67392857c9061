"""Times put in the place of censored ones, so that every patient has an error.

Both come from the Kaplan-Meier curve of the training part. Where it does not come down to 0 it goes
on from its last point along the straight line through (0, 1) and that point.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.arrays import Floats, checked
from mil.survival.metrics.kaplan_meier import kaplan_meier

AREAS = ("step", "trapezoid")


@dataclass(frozen=True)
class SurrogateTimes:
    """What predicted times are held against, and with which weight.

    An event has its own time and weight 1; a censored patient the surrogate, and as its weight the
    training curve's probability of an event before its censoring. NaN without a training event.
    """

    time: Floats
    weight: Floats


def margin_times(
    time: ArrayLike,
    event: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
    area: str = "step",
) -> SurrogateTimes:
    """Return for the censored their time plus the mean time left, given survival until then.

    Parameters
    ----------
    time, event : [n] each, of the test part.
    train_time, train_event : the patients of the curve.
    area : ``step``, the exact area under the curve; or ``trapezoid``, straight lines between all
        distinct training times, as published tables have it.

    References
    ----------
    Haider et al., J. Mach. Learn. Res. 2020.
    """
    time, event = checked(time, event)
    curve = _TrainingCurve.of(train_time, train_event, area, events_only=False)
    left = np.array([curve.area_after(t) for t in time])
    alive = curve.at(time)
    with np.errstate(divide="ignore", invalid="ignore"):
        surrogate = np.where(alive == 0, time, time + left / alive)
    return SurrogateTimes(np.where(event, time, surrogate), np.where(event, 1.0, 1 - alive))


def pseudo_times(
    time: ArrayLike,
    event: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
    area: str = "step",
) -> SurrogateTimes:
    r"""Return for the censored their pseudo-observation :math:`(N+1)\mu_{+i} - N\mu`.

    :math:`\mu` is the mean of the curve of the N training patients, :math:`\mu_{+i}` with patient i
    among them. Parameters as for :func:`margin_times`; ``trapezoid`` runs between 0, the event
    times and the last time.

    References
    ----------
    Qi et al., ICML 2023 (MAE with pseudo-observations); Andersen and Perme, Stat. Methods Med. Res.
    2010.
    """
    time, event = checked(time, event)
    train_time, train_event = checked(train_time, train_event)
    n = len(train_time)
    curve = _TrainingCurve.of(train_time, train_event, area, events_only=True)
    mean = curve.area_after(0.0)
    surrogate = time.copy()
    for i in np.flatnonzero(~event):
        more = np.append(train_time, time[i]), np.append(train_event, False)
        mean_with = _TrainingCurve.of(*more, area, events_only=True).area_after(0.0)
        surrogate[i] = (n + 1) * mean_with - n * mean
    return SurrogateTimes(surrogate, np.where(event, 1.0, 1 - curve.at(time)))


@dataclass(frozen=True)
class _TrainingCurve:
    """A Kaplan-Meier curve with its straight tail down to 0 at ``end``."""

    knots: Floats
    survival: Floats
    end: float
    straight: bool

    @classmethod
    def of(
        cls, time: ArrayLike, event: ArrayLike, area: str, events_only: bool
    ) -> "_TrainingCurve":
        if area not in AREAS:
            raise ValueError(f"area is {area!r}; it must be {' or '.join(AREAS)}.")
        curve = kaplan_meier(time, event)
        knots, survival = curve.time, curve.survival
        if events_only and area == "trapezoid":
            kept = curve.events > 0
            kept[[0, -1]] = True
            knots, survival = knots[kept], survival[kept]
        last, left = knots[-1], survival[-1]
        end = last / (1 - left) if left < 1 else np.nan
        return cls(knots, survival, float(end), area == "trapezoid")

    def at(self, times: Floats) -> Floats:
        """Return the step function at times >= 0, the tail included."""
        if np.isnan(self.end):
            return np.full(len(times), np.nan)
        inside = self.survival[np.searchsorted(self.knots, times, side="right") - 1]
        tail = np.maximum(1 - times / self.end, 0) if self.end else np.zeros(len(times))
        return np.where(times > self.knots[-1], tail, inside)

    def area_after(self, time: float) -> float:
        """Return the area under the curve from a time on."""
        last, left = self.knots[-1], self.survival[-1]
        if np.isnan(self.end) or time > last:
            return float((self.end - time) * self.at(np.array([time]))[0] / 2)
        knots = np.append(time, self.knots[self.knots > time])
        values = self.at(knots)
        heights = (values[:-1] + values[1:]) / 2 if self.straight else values[:-1]
        return float((heights * np.diff(knots)).sum() + left * (self.end - last) / 2)
