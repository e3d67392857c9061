"""Breslow's estimate of the baseline hazard: what turns Cox's log risk into survival."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.arrays import Floats, checked


@dataclass(frozen=True)
class BreslowBaseline:
    """Log of the cumulative baseline hazard, a step function of time.

    In logs, so that any offset of the risks is taken up without overflow.

    Parameters
    ----------
    time : [m], the distinct event times of the training part, increasing.
    log_hazard : [m], log of the cumulative hazard at log risk 0, from each time on.
    end : last training follow-up; the hazard is not known beyond it.
    """

    time: Floats
    log_hazard: Floats
    end: float


def breslow_baseline(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> BreslowBaseline:
    r"""Return the cumulative baseline hazard of training patients.

    .. math:: H_0(u) = \sum_{t_k \le u} d_k \Big/ \sum_{j : t_j \ge t_k} \exp(\eta_j)

    over the distinct event times :math:`t_k` with :math:`d_k` events. Without an event it has no
    steps and survival is 1.

    Parameters
    ----------
    time, event, risk : [n] each, of the training part; ``risk`` is the log risk :math:`\eta`.

    References
    ----------
    Breslow, J. R. Stat. Soc. B 1972 (discussion of Cox).
    """
    time, event, risk = checked(time, event, risk=risk)
    if not len(time):
        raise ValueError("A baseline hazard needs at least one training patient.")
    times, deaths = np.unique(time[event], return_counts=True)
    order = np.argsort(-time, kind="stable")
    at_risk = np.logaddexp.accumulate(risk[order])  # log of the sum over the latest k patients
    until = np.searchsorted(-time[order], -times, side="right") - 1
    steps = np.log(deaths) - at_risk[until]
    log_hazard = np.logaddexp.accumulate(steps) if len(steps) else steps
    return BreslowBaseline(times, log_hazard, float(time.max()))
