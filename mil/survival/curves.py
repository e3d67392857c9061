"""Survival curves of patients, one for each kind of output that has them.

``S_i(u)`` is the predicted probability of being event-free after u: never rising, 1 at time 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.breslow import BreslowBaseline
from mil.survival.metrics.arrays import Floats

LEVELS = (0.5, 0.8, 0.9, 0.95)
_ROUNDING = 1e-12  # a share of draws that is the level but for rounding


@dataclass(frozen=True)
class SurvivalCurves:
    """Curves of n patients.

    Parameters
    ----------
    knots : [n, m], times in the unit of the patient table, not falling along a row.
    survival : [n, m], S from each knot on (steps) or at it (lines); NaN where a prediction is.
    straight : lines between the knots, from 1 at time 0; otherwise steps, right-continuous.
    end : time after which nothing is known of the curves, which stay flat; infinite for draws.
    draws : how many draws a curve is made of; 0 if it is none of draws.
    """

    knots: Floats
    survival: Floats
    straight: bool = False
    end: float = np.inf
    draws: int = 0

    def __len__(self) -> int:
        return len(self.knots)

    def rows(self, which: ArrayLike) -> "SurvivalCurves":
        """Return the curves of some patients, by index or mask."""
        which = np.asarray(which)
        return SurvivalCurves(
            self.knots[which], self.survival[which], self.straight, self.end, self.draws
        )

    def at(self, times: ArrayLike) -> Floats:
        """Return S [n, k] at times [k], the same ones for every patient."""
        times = np.asarray(times, dtype=np.float64)
        curves = zip(self.knots, self.survival, strict=True)
        if self.straight:
            values = [np.interp(times, [0, *k], [1, *s]) for k, s in curves]
        else:
            values = [np.append(1.0, s)[np.searchsorted(k, times, "right")] for k, s in curves]
        found = np.array(values).reshape(len(self), len(times))
        return np.where(self._defined[:, None], found, np.nan)

    def at_own(self, times: ArrayLike) -> Floats:
        """Return S_i(t_i) [n] at a time of each patient's own, times [n]."""
        times = np.asarray(times, dtype=np.float64)
        own = [self.rows([i]).at([u])[0, 0] for i, u in enumerate(times)]
        return np.array(own, dtype=np.float64)

    def probability_integral(self, times: ArrayLike) -> Floats:
        """Return S_i(t_i) [n] as calibration takes it: uniform on (0, 1) if the curves are right.

        Of K draws it is ``(0.5 + number of draws > t) / (K + 1)``, never 0 or 1.
        """
        own = self.at_own(times)
        return (0.5 + own * self.draws) / (self.draws + 1) if self.draws else own

    def quantile(self, level: float) -> Floats:
        """Return the first time [n] by which S has come down to ``1 - level``; infinite if never.

        Of K draws the median is the middle one, of an even number the lower middle one.
        """
        target = 1 - level
        below = self.survival <= target + _ROUNDING  # [n, m]
        first = below.argmax(axis=1) if below.size else np.zeros(len(self), dtype=np.int64)
        times = np.full(len(self), np.inf)
        for i in np.flatnonzero(below.any(axis=1)):
            k = first[i]
            times[i] = self.knots[i, k]
            if self.straight:
                before = (self.knots[i, k - 1], self.survival[i, k - 1]) if k else (0.0, 1.0)
                share = (before[1] - target) / (before[1] - self.survival[i, k])
                times[i] = before[0] + min(share, 1) * (times[i] - before[0])
        return np.where(self._defined, times, np.nan)

    @property
    def median(self) -> Floats:
        """Median times [n]; infinite where a curve does not come down to one half."""
        return self.quantile(0.5)

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Return the ends [n] of the central interval; infinite where the curve does not fall."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def extrapolated(self, times: ArrayLike) -> np.ndarray:
        """Return which of these times lie where the curves are only kept flat."""
        return np.asarray(times, dtype=np.float64) > self.end

    @property
    def _defined(self) -> np.ndarray:
        return np.isfinite(self.knots).all(axis=1) & np.isfinite(self.survival).all(axis=1)


def curves_of_draws(draws: ArrayLike) -> SurvivalCurves:
    """Return the share of draws [n, K] beyond each time."""
    draws = np.sort(np.asarray(draws, dtype=np.float64), axis=1)
    n, k = draws.shape
    left = 1 - np.arange(1, k + 1) / k
    return SurvivalCurves(draws, np.broadcast_to(left, (n, k)), draws=k)


def curves_of_bins(edges: ArrayLike, survival: ArrayLike) -> SurvivalCurves:
    """Return straight lines between the edges of time bins, flat after the last finite one.

    Parameters
    ----------
    edges : [K + 1], from 0 to infinity.
    survival : [n, K], at the right edge of every bin; the last, at infinity, says nothing.
    """
    inner = np.asarray(edges, dtype=np.float64)[1:-1]
    survival = np.asarray(survival, dtype=np.float64)[:, :-1]
    knots = np.broadcast_to(inner, survival.shape)
    return SurvivalCurves(knots, survival, straight=True, end=float(inner[-1]))


def curves_of_cox(baseline: BreslowBaseline, risk: ArrayLike) -> SurvivalCurves:
    r"""Return :math:`\exp(-H_0(u) e^{\eta})` for log risks [n], flat after the training part."""
    risk = np.asarray(risk, dtype=np.float64)
    with np.errstate(over="ignore"):  # exp(-inf) is the 0 that is meant
        survival = np.exp(-np.exp(baseline.log_hazard + risk[:, None]))
    if not len(baseline.time):
        survival = np.where(np.isnan(risk), np.nan, 1.0)[:, None]
        return SurvivalCurves(np.zeros((len(risk), 1)), survival, end=baseline.end)
    return SurvivalCurves(
        np.broadcast_to(baseline.time, survival.shape), survival, False, baseline.end
    )
