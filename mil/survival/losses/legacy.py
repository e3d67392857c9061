"""Losses as the published code has them, to tell what their defects did to published numbers."""

from torch import Tensor


def legacy_cox_loss(log_risk: Tensor, time: Tensor, event: Tensor, paired: bool) -> Tensor:
    r"""Return AdvMIL's Cox loss, divided by patients instead of events, log risks cut off at 10.

    .. math:: -\frac1n \sum_i e_i \Big[\eta_i - \log \sum_{j: t_j \ge t_i} e^{\eta_j}\Big]

    In its training a column of events meets a row of patients: every patient is weighed with every
    event, :math:`e_i` becomes :math:`\bar e`, and who had the event does not matter.

    Parameters
    ----------
    log_risk : [n], eta.
    time : [n].
    event : [n], 1 = event seen, 0 = censored.
    paired : each event with its own patient (the original's validation) or not (its training).

    Returns
    -------
    Scalar; without an event a zero attached to the graph.
    """
    eta = log_risk.clamp(max=10)
    at_risk = (time[None, :] >= time[:, None]).to(eta)  # [n, n]
    term = eta - (at_risk @ eta.exp()).log()  # [n]
    event = event.to(eta)
    return -((event if paired else event.mean()) * term).mean()
