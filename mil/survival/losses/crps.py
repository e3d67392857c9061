"""Score of draws of the time, of which some patients are censored."""

import torch
from torch import Tensor


def crps_loss(draws: Tensor, time: Tensor, event: Tensor, alpha: float = 0.0) -> Tensor:
    r"""Return the mean over patients of the continuous ranked probability score of their draws.

    .. math:: \frac1S \sum_s |y_s - t| - \frac1{2S(S-1)} \sum_{s, s'} |y_s - y_{s'}|

    Its expectation over draws from F is :math:`\int (F(u) - 1[u \ge t])^2 du`, least where F is the
    distribution of t: the first part pulls draws to the time, the second one apart. Of a patient
    censored at c only :math:`\int_{-\infty}^c F(u)^2 du` is known; it is the score of the draws cut
    off at c for the time c.

    Parameters
    ----------
    draws : [n, S], y, on the scale of ``time``; S at least 2.
    time : [n].
    event : [n], 1 = event seen, 0 = censored.
    alpha : takes weight from censored patients.

    Returns
    -------
    Scalar; for no patients a zero attached to the graph.

    Raises
    ------
    ValueError : fewer than two draws a patient.

    Notes
    -----
    Without censoring the score is proper. With it, patients fall out of the integral when they are
    censored but never after an event, so that F is drawn to early times, by less than events alone
    would draw it (Rindt et al., AISTATS 2022).

    References
    ----------
    Gneiting and Raftery, J. Am. Stat. Assoc. 2007; Ferro, Q. J. R. Meteorol. Soc. 2014 (the factor
    S - 1); Avati et al. (Survival-CRPS), UAI 2019.
    """
    n, count = draws.shape
    if count < 2:
        raise ValueError(f"The score compares the draws of a patient: {count} is too few, take 2.")
    if n == 0:
        return draws.sum()
    seen, time = event.to(torch.bool), time.to(draws)
    known_until = torch.where(seen, torch.inf, time)[:, None]  # [n, 1]
    draws = torch.minimum(draws, known_until)
    error = (draws - time[:, None]).abs().mean(1)
    apart = (draws[:, :, None] - draws[:, None, :]).abs().sum((1, 2)) / (count * (count - 1))
    weight = 1 - alpha * (~seen).to(draws)
    return (weight * (error - apart / 2)).mean()
