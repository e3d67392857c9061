"""Log-rank test of two groups, stratified where patients come from several folds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from mil.survival.metrics.arrays import Bools, Floats, checked


@dataclass(frozen=True)
class LogRank:
    """Chi-square with one degree of freedom; NaN with a reason where no test is possible.

    ``observed`` and ``expected`` are events of the group marked 1.
    """

    statistic: float
    p_value: float
    observed: float
    expected: float
    variance: float
    n: int
    events: int
    reason: str = ""


def logrank(
    time: ArrayLike, event: ArrayLike, group: ArrayLike, stratum: ArrayLike | None = None
) -> LogRank:
    """Compare two groups by observed minus expected events (hypergeometric variance).

    Parameters
    ----------
    time : [n].
    event : [n], 1 = event seen, 0 = censored.
    group : [n], 0 or 1.
    stratum : [n], any labels; patients are compared within a stratum only.

    Returns
    -------
    LogRank; undefined for an empty or one-patient group.

    References
    ----------
    Mantel, Cancer Chemother. Rep. 1966; Peto and Peto, J. R. Stat. Soc. A 1972.
    """
    time, event = checked(time, event)
    group = np.asarray(group).astype(bool)
    stratum = np.zeros(len(time)) if stratum is None else np.asarray(stratum)
    n, events = len(time), int(event.sum())
    smallest = min(int(group.sum()), int((~group).sum()))
    if smallest < 2:
        what = "an empty group" if not smallest else "a group of one patient"
        return LogRank(np.nan, np.nan, np.nan, np.nan, np.nan, n, events, f"no test: {what}")

    parts = [
        _one_stratum(time[own], event[own], group[own])
        for own in (stratum == label for label in np.unique(stratum))
    ]
    observed, expected, variance = (float(total) for total in np.sum(parts, axis=0))
    if variance <= 0:
        reason = "no test: no event while both groups were at risk"
        return LogRank(np.nan, np.nan, observed, expected, 0.0, n, events, reason)
    statistic = (observed - expected) ** 2 / variance
    p_value = float(chdtrc(1, statistic))
    return LogRank(statistic, p_value, observed, expected, variance, n, events)


def permutation_p(
    time: ArrayLike,
    event: ArrayLike,
    group: ArrayLike,
    stratum: ArrayLike,
    permutations: int,
    seed: int,
) -> float:
    """Return the p-value of the stratified log-rank test by shuffling groups within strata.

    Out-of-fold predictions share training patients, so the chi-square's p-value is too sure; this
    one asks only that outcomes are exchangeable inside a fold. NaN where no test is possible.
    """
    found = logrank(time, event, group, stratum).statistic
    if np.isnan(found):
        return np.nan
    time, event = checked(time, event)
    group, stratum = np.asarray(group).astype(bool), np.asarray(stratum)
    rng = np.random.default_rng(seed)
    excess, variance = np.zeros((2, permutations))
    for label in np.unique(stratum):
        own = stratum == label
        shuffled = rng.permuted(np.tile(group[own], (permutations, 1)), axis=1)
        observed, expected, spread = _one_stratum(time[own], event[own], shuffled)
        excess, variance = excess + observed - expected, variance + spread
    # Rounding must not make the same table look less extreme than itself.
    as_extreme = (excess**2 >= found * (1 - 1e-9) * variance).sum()
    return float((1 + as_extreme) / (1 + permutations))


def _one_stratum(time: Floats, event: Bools, group: Bools) -> tuple[Floats, Floats, Floats]:
    """Return observed, expected and variance of group 1, for one grouping [n] or many [p, n]."""
    order = np.argsort(time, kind="stable")
    time, event, group = time[order], event[order], group[..., order]
    when, d = np.unique(time[event], return_counts=True)
    first = np.searchsorted(time, when, side="left")
    at_risk = len(time) - first
    own_at_risk = group[..., ::-1].cumsum(axis=-1)[..., ::-1][..., first]  # [..., event times]
    share = own_at_risk / at_risk
    spread = (at_risk - d) / np.maximum(at_risk - 1, 1)
    return (
        group[..., event].sum(axis=-1).astype(np.float64),
        share @ d.astype(np.float64),
        (share * (1 - share)) @ (d * spread),
    )
