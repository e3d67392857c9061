"""Pairs of patients, a block of rows at a time: what concordance is made of in a bootstrap."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mil.survival.metrics.arrays import Bools, Floats, checked
from mil.survival.metrics.concordance import TIED_RISK
from mil.survival.metrics.kaplan_meier import censoring_survival

_ROWS = 256  # of the pair matrix held at once


@dataclass(frozen=True)
class PairBlock:
    """Pairs of some patients with all.

    Parameters
    ----------
    rows : [r], the patients with an event.
    weight : [r, n], of each pair; 0 where it is not comparable.
    won : [r, n], the weight where the patient with the event has more risk, one half of it in ties.
    """

    rows: NDArray[np.int64]
    weight: Floats
    won: Floats


def harrell_pairs(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Iterator[PairBlock]:
    """Yield the pairs of Harrell's C; none where a risk is not finite."""
    time, event, risk = checked(time, event, risk=risk)
    for rows, comparable in _comparable(time, event, np.isfinite(risk).all()):
        yield PairBlock(rows, comparable, comparable * _above(risk[rows, None], risk))


def uno_pairs(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    train_time: ArrayLike,
    train_event: ArrayLike,
    tau: float,
) -> Iterator[PairBlock]:
    """Yield the pairs of Uno's C up to tau, weighted by ``G(t_i)**-2`` of the training part."""
    time, event, risk = checked(time, event, risk=risk)
    event, time = event & (time < tau), np.minimum(time, tau)
    g = censoring_survival(train_time, train_event).at(time)
    for rows, comparable in _comparable(time, event, np.isfinite(risk).all()):
        weight = comparable * g[rows, None] ** -2.0
        yield PairBlock(rows, weight, weight * _above(risk[rows, None], risk))


def antolini_pairs(time: ArrayLike, event: ArrayLike, survival: ArrayLike) -> Iterator[PairBlock]:
    """Yield the pairs of Antolini's C; ``survival`` is [n, n], S_j(t_i) at row j, column i."""
    time, event, survival = checked(time, event, survival=survival)
    for rows, comparable in _comparable(time, event, np.isfinite(survival).all()):
        there = survival[:, rows].T  # [r, n], S_j(t_i)
        own = survival[rows, rows][:, None]
        yield PairBlock(rows, comparable, comparable * _above(-own, -there))


def _comparable(time: Floats, event: Bools, defined: bool) -> Iterator[tuple[NDArray, Floats]]:
    """Yield rows of patients with an event, and with whom each can be compared."""
    failed = np.flatnonzero(event) if defined else []
    for start in range(0, len(failed), _ROWS):
        rows = failed[start : start + _ROWS]
        at = time[rows, None]
        yield rows, ((at < time) | ((at == time) & ~event)).astype(np.float64)


def _above(own: Floats, others: Floats) -> Floats:
    """Return 1 where own exceeds the others, one half where they are tied, else 0."""
    above = (others < own - TIED_RISK).astype(np.float64)
    return (above + (others <= own + TIED_RISK)) / 2
