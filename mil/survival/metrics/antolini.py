"""Antolini's time-dependent concordance: C for models whose survival curves cross."""

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.concordance import Concordance
from mil.survival.metrics.pairs import antolini_pairs


def antolini_c(time: ArrayLike, event: ArrayLike, survival: ArrayLike) -> Concordance:
    """Return the share of comparable pairs with ``S_i(t_i) < S_j(t_i)``, ties one half.

    Comparable pairs are Harrell's. For curves that never cross it is Harrell's C of their order.

    Parameters
    ----------
    time, event : [n] each.
    survival : [n, n], S_j(t_i) at row j and column i.

    References
    ----------
    Antolini et al., Stat. Med. 2005.
    """
    time, event, survival = np.asarray(time), np.asarray(event), np.asarray(survival)
    n, events = len(time), int(np.sum(event))
    if not np.isfinite(survival).all():
        bad = int((~np.isfinite(survival).all(axis=1)).sum())
        return Concordance(np.nan, 0, 0, 0, 0, n, events, f"{bad} of {n} curves are not finite")
    concordant = tied = pairs = 0
    for block in antolini_pairs(time, event, survival):
        tied += int((block.won == 0.5 * block.weight)[block.weight > 0].sum())
        concordant += int((block.won == block.weight)[block.weight > 0].sum())
        pairs += int(block.weight.sum())
    if not pairs:
        reason = "no events" if not events else "no comparable pair"
        return Concordance(np.nan, 0, 0, 0, 0, n, events, reason)
    value = (concordant + 0.5 * tied) / pairs
    return Concordance(value, concordant, pairs - concordant - tied, tied, pairs, n, events)
