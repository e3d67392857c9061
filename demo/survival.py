"""Follow-up times whose hazard is a known function of the planted pattern."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.03, 0.45  # pattern fraction: the minority of the tissue, as tumour nests are
CENTRE = (LEAST + MOST) / 2
BETA = 16.0  # log hazard per unit of pattern fraction
SHAPE = 1.6  # of the Weibull baseline: the hazard rises with time
MEDIAN = 24.0  # months, at the central pattern fraction
ACCRUAL = 36.0  # months during which patients enter
FOLLOW_UP = 48.0  # months from the last entry to the closing date
DROPOUT = 200.0  # months, mean of the random censoring time


@dataclass(frozen=True)
class FollowUp:
    """Arrays over patients: months [n] float64, event [n] int64, relative hazard [n] float64."""

    time: NDArray[np.float64]
    event: NDArray[np.int64]
    hazard: NDArray[np.float64]


def spread_fractions(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return pattern fractions [count] spread evenly over 0.03 to 0.45, in random order."""
    return LEAST + (MOST - LEAST) * (rng.permutation(count) + rng.random(count)) / count


def simulate_follow_up(rng: np.random.Generator, fraction: NDArray[np.float64]) -> FollowUp:
    r"""Draw times from a Weibull proportional hazards model with independent censoring.

    The time comes by inversion (Bender, Augustin and Blettner, Statistics in Medicine 2005) of

    .. math:: S(t) = \exp(-(t / \lambda)^k \exp(\beta (f - f_0)))

    with f_0 the central fraction. It is cut by the closing date of the study (staggered entry) and
    by exponential dropout.

    Parameters
    ----------
    rng : source of the draws.
    fraction : float64 [n], share of the tissue that is pattern.
    """
    count = len(fraction)
    hazard = np.exp(BETA * (fraction - CENTRE))
    scale = MEDIAN / np.log(2) ** (1 / SHAPE)
    death = scale * (-np.log(rng.random(count)) / hazard) ** (1 / SHAPE)
    closing = FOLLOW_UP + ACCRUAL * rng.random(count)
    censoring = np.minimum(closing, rng.exponential(DROPOUT, count))
    # Tables give months to two decimals; nobody is followed for less than three days.
    time = np.maximum(np.round(np.minimum(death, censoring), 2), 0.1)
    return FollowUp(time, (death <= censoring).astype(np.int64), hazard)


def concordance(
    time: NDArray[np.float64], event: NDArray[np.int64], risk: NDArray[np.float64]
) -> float:
    """Return Harrell's C: the share of usable pairs in which the earlier event had the higher risk.

    A pair is usable when the shorter time is an event; at equal times, an event against a censored
    time counts too. Equal risks count half (Harrell et al., JAMA 1982). NaN without a usable pair.
    Kept apart from the evaluation it is there to check.

    Parameters
    ----------
    time, event, risk : [n]; a higher risk means an earlier event.
    """
    earlier = (time[:, None] < time[None]) | ((time[:, None] == time[None]) & (event[None] == 0))
    usable = earlier & (event[:, None] == 1)
    if not usable.any():
        return float("nan")
    right = (risk[:, None] > risk[None]) + 0.5 * (risk[:, None] == risk[None])
    return float(right[usable].mean())
