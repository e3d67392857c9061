"""Calibration of whole distributions: whether predicted probabilities are what then happens.

Everything here is of ``p_i = S_i(t_i)``, uniform on [0, 1] if the curves are right. Of a censored
patient only ``[0, p_i]`` is known, over which it is spread evenly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from mil.survival.metrics.arrays import Floats


@dataclass(frozen=True)
class DCalibration:
    """Patients in each bin of p from 0 up, and the chi-square test of equal bins.

    Parameters
    ----------
    totals : [bins]; they sum to n.
    """

    totals: Floats
    statistic: float
    p_value: float
    n: int
    events: int
    reason: str = ""


def d_calibration(p: ArrayLike, event: ArrayLike, bins: int = 10) -> DCalibration:
    """Return the D-calibration of survival probabilities at the observed times.

    Parameters
    ----------
    p : [n], ``SurvivalCurves.probability_integral`` at the observed times.
    event : [n], 1 = event seen, 0 = censored.
    bins : equal ones on [0, 1], closed on the left.

    References
    ----------
    Haider et al., J. Mach. Learn. Res. 2020.
    """
    p, event = np.asarray(p, dtype=np.float64), np.asarray(event) > 0
    n, events = len(p), int(event.sum())
    if not n or not np.isfinite(p).all():
        missing = int((~np.isfinite(p)).sum())
        reason = f"{missing} of {n} predictions are missing" if n else "no test patients"
        return DCalibration(np.full(bins, np.nan), np.nan, np.nan, n, events, reason)
    edges = np.linspace(0, 1, bins + 1)
    shares = share_within(p[:, None], event[:, None], edges[:-1], edges[1:])  # [n, bins]
    shares[:, -1] = 1 - shares[:, :-1].sum(axis=1)  # p = 1 belongs to the last bin
    totals = shares.sum(axis=0)
    statistic = float(((totals - n / bins) ** 2 / (n / bins)).sum())
    return DCalibration(totals, statistic, float(chdtrc(bins - 1, statistic)), n, events)


def share_within(p: ArrayLike, event: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """Return how much of a patient lies in ``low <= p < high``: 0 or 1, for censored a share.

    Its mean over patients is the coverage of the interval from S = high down to S = low.
    """
    p, event = np.asarray(p, dtype=np.float64), np.asarray(event) > 0
    inside = ((low <= p) & (p < high)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (np.minimum(p, high) - np.minimum(p, low)) / p
    return np.where(event | (p == 0), inside, spread)
