"""Two groups of patients whose distribution of the time is known."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import norm

GROUPS = ("one peak", "two peaks")
PEAKS = {"one peak": [(30.0, 4.0)], "two peaks": [(40.0, 5.0), (80.0, 7.0)]}  # mean, SD; months
QUANTILES = (np.arange(2000) + 0.5) / 2000


def draw(name: str, n: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return n times of a group."""
    peaks = np.array(PEAKS[name])
    mean, sd = peaks[random.integers(len(peaks), size=n)].T
    return random.normal(mean, sd)


def density(name: str, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the density of a group's times."""
    return np.mean([norm.pdf(times, mean, sd) for mean, sd in PEAKS[name]], axis=0)


def true_quantiles(name: str) -> NDArray[np.float64]:
    """Return the times of a group at `QUANTILES`, from the inverse of its distribution."""
    grid = np.linspace(0, 200, 200_001)
    below = np.mean([norm.cdf(grid, mean, sd) for mean, sd in PEAKS[name]], axis=0)
    return np.interp(QUANTILES, below, grid)


def least_score(time: NDArray[np.float64], event: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the times at `QUANTILES` of the distribution with the least score (``norm: crps``).

    Up to a time u the score of a patient with an event before it asks for F(u) = 1, of one who is
    still followed for F(u) = 0, of one censored before it for nothing. All together are least at
    the share of the first, which exceeds the true F(u) where patients were censored.
    """
    order = np.argsort(time)
    failed = np.cumsum(event[order])
    share = failed / np.maximum(failed + np.arange(len(time))[::-1], 1)
    return time[order][np.searchsorted(share, QUANTILES)]


def best_shift(t_ref: float) -> dict[str, NDArray[np.float64]]:
    """Return the quantiles [1, q] by group of the best that noise 0-1 can be.

    Its times are ``t_ref softplus(m + s z)``: m is the patient's, but s and the shape of z are
    everybody's. For many noise inputs of similar weight z is normal. m of both groups and s make
    the mean of the two Wasserstein distances least.
    """
    truth = [true_quantiles(name) for name in GROUPS]

    def times(parameters: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        *places, spread = parameters
        z = ndtri(QUANTILES) * np.exp(spread)
        return [t_ref * np.logaddexp(0, place + z) for place in places]

    def distance(parameters: NDArray[np.float64]) -> float:
        return float(
            np.mean([np.abs(a - b) for a, b in zip(times(parameters), truth, strict=True)])
        )

    start = [float(np.log(np.expm1(np.median(one) / t_ref))) for one in truth]
    found = minimize(distance, [*start, -1.0], method="Nelder-Mead", options={"maxiter": 4000})
    return {name: one[None] for name, one in zip(GROUPS, times(found.x), strict=True)}
