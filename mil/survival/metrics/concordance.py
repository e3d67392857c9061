"""Harrell's concordance index, with the counts it is made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.survival.metrics.arrays import Bools, Floats, checked

TIED_RISK = 1e-8  # risks closer than this are tied

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Concordance:
    """A concordance index and its counts; ``value`` is NaN and ``reason`` says why if undefined."""

    value: float
    concordant: int
    discordant: int
    tied_risk: int
    pairs: int
    n: int
    events: int
    reason: str = ""


def harrell_c(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Concordance:
    """Return the share of comparable pairs in which the patient who fails first has more risk.

    A pair is comparable if i has an event and ``t_i < t_j``, or if their times are equal and j is
    censored. Risks closer than 1e-8 count one half. O(n log n).

    Parameters
    ----------
    time : [n].
    event : [n], 1 = event seen, 0 = censored.
    risk : [n], higher is worse.

    References
    ----------
    Harrell et al., JAMA 1982.
    """
    time, event, risk = checked(time, event, risk=risk)
    n, events = len(time), int(event.sum())
    if not np.isfinite(risk).all():
        bad = int((~np.isfinite(risk)).sum())
        reason = f"{bad} of {n} risks are not finite"
        return Concordance(np.nan, 0, 0, 0, 0, n, events, reason)
    concordant, tied, pairs = (int(x.sum()) for x in count_pairs(time, event, risk))
    if not pairs:
        reason = "no events" if not events else "no comparable pair"
        return Concordance(np.nan, 0, 0, 0, 0, n, events, reason)
    value = (concordant + 0.5 * tied) / pairs
    return Concordance(value, concordant, pairs - concordant - tied, tied, pairs, n, events)


def count_pairs(time: Floats, event: Bools, risk: Floats) -> tuple[Counts, Counts, Counts]:
    """Return, for every patient with an event, its concordant, risk-tied and comparable pairs.

    Returns
    -------
    Three arrays [events], in the order of the patients with an event.
    """
    # In this order a patient's comparable partners are all who follow the events of its own time.
    order = np.lexsort((~event, time))
    failed_before = np.cumsum(event[order])
    start = np.searchsorted(time[order], time[event], side="left")
    tied_events = failed_before[np.searchsorted(time[order], time[event], side="right") - 1]
    tied_events = tied_events - np.concatenate([[0], failed_before])[start]
    start = start + tied_events

    by_risk = np.argsort(risk, kind="stable")
    rank = np.empty(len(risk), dtype=np.int64)
    rank[by_risk] = np.arange(len(risk))
    levels = risk[by_risk]
    below = np.searchsorted(levels, risk[event] - TIED_RISK, side="left")
    not_above = np.searchsorted(levels, risk[event] + TIED_RISK, side="right")
    concordant = _count_below(rank[order], start, below)
    tied = _count_below(rank[order], start, not_above) - concordant
    return concordant, tied, len(time) - start


def _count_below(rank: Counts, start: Counts, bound: Counts) -> Counts:
    """Return for every query the number of positions >= start whose rank is below bound.

    A wavelet matrix (Claude, Navarro and Ordonez, Inf. Syst. 2015): one stable partition for each
    bit of the ranks, and all queries answered together.
    """
    left, right = start, np.full_like(start, len(rank))
    count = np.zeros_like(start)
    for bit in reversed(range(len(rank).bit_length())):
        is_one = (rank >> bit & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~is_one)])
        zeros_left, zeros_right = zeros[left], zeros[right]
        up = (bound >> bit & 1).astype(bool)  # all with a zero here are below the bound
        count += np.where(up, zeros_right - zeros_left, 0)
        left = np.where(up, zeros[-1] + left - zeros_left, zeros_left)
        right = np.where(up, zeros[-1] + right - zeros_right, zeros_right)
        rank = np.concatenate([rank[~is_one], rank[is_one]])
    return count
