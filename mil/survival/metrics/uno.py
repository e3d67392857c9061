"""Uno's concordance index: pairs weighted by the inverse probability of censoring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.arrays import checked
from mil.survival.metrics.concordance import count_pairs
from mil.survival.metrics.kaplan_meier import censoring_survival


@dataclass(frozen=True)
class UnoC:
    """The index, the time up to which events count, and why it is NaN if it is."""

    value: float
    tau: float
    pairs: int
    n: int
    events: int
    n_train: int
    reason: str = ""


def default_tau(train_time: ArrayLike, train_event: ArrayLike) -> float:
    """Return the last training time with G >= 0.2, at most the 90 % quantile of the times."""
    train_time = np.asarray(train_time, dtype=np.float64)
    censoring = censoring_survival(train_time, train_event)
    enough = censoring.time[censoring.survival >= 0.2]
    return float(min(enough[-1], np.quantile(train_time, 0.9)))


def uno_c(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
    tau: float | None = None,
) -> UnoC:
    """Return Harrell's pairs with ``t_i < tau``, each weighted by ``G(t_i)**-2``.

    Parameters
    ----------
    time, event, risk : [n] each; risk higher is worse.
    train_time, train_event : [m] each, the patients on whom G is estimated.
    tau : patients beyond it are censored there; without it one late pair can dominate
        (``default_tau`` gives the usual choice).

    References
    ----------
    Uno et al., Stat. Med. 2011.
    """
    time, event, risk = checked(time, event, risk=risk)
    n, events, n_train = len(time), int(event.sum()), len(np.asarray(train_time))
    limit = np.inf if tau is None else float(tau)
    event = event & (time < limit)
    time = np.minimum(time, limit)

    def undefined(reason: str) -> UnoC:
        return UnoC(np.nan, limit, 0, n, events, n_train, reason)

    if not np.isfinite(risk).all():
        return undefined("a risk is not finite")
    concordant, tied, pairs = count_pairs(time, event, risk)
    if not pairs.sum():
        return undefined("no comparable pair before tau")
    censoring = censoring_survival(train_time, train_event)
    counted = pairs > 0  # an event after which nobody is left needs no weight
    when = time[event][counted]
    g = censoring.at(when)
    if when.max() > censoring.last or g.min() <= 0:
        return undefined("an event lies beyond the training follow-up; give tau")
    weight = g**-2.0
    score = (weight * (concordant + 0.5 * tied)[counted]).sum()
    total = (weight * pairs[counted]).sum()
    return UnoC(float(score / total), limit, int(pairs.sum()), n, events, n_train)
