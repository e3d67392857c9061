"""Negative log partial likelihood of Cox's model."""

import torch
from torch import Tensor


def cox_loss(log_risk: Tensor, time: Tensor, event: Tensor, ties: str = "efron") -> Tensor:
    r"""Return the Cox loss of the patients of one window, divided by its number of events.

    .. math:: -\frac1E \sum_{i: e_i = 1} \Big[\eta_i - \log \sum_{j: t_j \ge t_i} e^{\eta_j}\Big]

    is Breslow's form; Efron's takes the fraction :math:`k/d` of the tied events' own sum out of the
    k-th of d tied terms. Both are the same where no two events share a time. The log risks are
    never clamped: a clamp has no gradient where the model is most wrong.

    Parameters
    ----------
    log_risk : [n], eta, float32 or float64.
    time : [n], time of the event or of the last follow-up, any unit.
    event : [n], 1 = event seen, 0 = censored.
    ties : ``efron`` or ``breslow``.

    Returns
    -------
    Scalar. Without an event a zero attached to the graph. One patient alone has a loss of exactly
    zero: the risk set is the window, so a window must hold several patients.

    Raises
    ------
    ValueError : for another name of ``ties``.

    References
    ----------
    Cox, J. R. Stat. Soc. B 1972; Breslow, Biometrics 1974; Efron, J. Am. Stat. Assoc. 1977.
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties is {ties!r}; it must be 'efron' or 'breslow'.")
    seen = event.to(torch.bool)
    if not seen.any():
        return (log_risk * 0).sum()

    order = torch.argsort(time, descending=True, stable=True)
    eta, time, seen = log_risk[order], time[order], seen[order]

    # Going back in time, a risk set is everything up to the last patient of the same time.
    _, same_time, count = torch.unique_consecutive(time, return_inverse=True, return_counts=True)
    last = count.cumsum(0) - 1
    log_at_risk = torch.logcumsumexp(eta, dim=0)[last[same_time]][seen]  # [E]
    eta, time = eta[seen], time[seen]  # [E]
    if ties == "efron":
        log_at_risk = log_at_risk + _tie_correction(eta, time, log_at_risk)
    return (log_at_risk - eta).sum() / len(eta)


def _tie_correction(eta: Tensor, time: Tensor, log_at_risk: Tensor) -> Tensor:
    """Return log(1 - k/d * tied sum / sum at risk) of every event, k counted inside its ties."""
    _, tie, d = torch.unique_consecutive(time, return_inverse=True, return_counts=True)
    peak = torch.full_like(d, -torch.inf, dtype=eta.dtype)
    peak = peak.scatter_reduce(0, tie, eta.detach(), "amax")
    tied_sum = torch.zeros_like(peak).index_add(0, tie, (eta - peak[tie]).exp())
    log_tied = peak + tied_sum.log()
    first = d.cumsum(0) - d
    k = torch.arange(len(eta), device=eta.device) - first[tie]
    share = k.to(eta.dtype) / d[tie]  # below 1, so that the logarithm stays finite
    return torch.log1p(-share * (log_tied[tie] - log_at_risk).exp())
