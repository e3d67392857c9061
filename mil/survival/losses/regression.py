"""Regression of times of which some are censored."""

import torch
from torch import Tensor
from torch.nn.functional import relu


def recon_loss(
    predicted: Tensor,
    time: Tensor,
    event: Tensor,
    norm: str = "l1",
    alpha: float = 0.0,
    gamma: float = 0.0,
) -> Tensor:
    r"""Return the mean of :math:`e|m-t| + (1-\alpha)(1-e)\max(0, \gamma - (m-t))`.

    Events are fitted from both sides; a censored patient is punished only for a predicted time
    before (censoring time + gamma).

    Parameters
    ----------
    predicted : [n], m, on the scale of ``time``; or draws of it [n, S].
    time : [n]; beside draws [n, 1].
    event : like ``time``, 1 = event seen, 0 = censored.
    norm : ``l1``, or ``l2`` which squares both parts.
    alpha : takes weight from the censored part.
    gamma : margin by which a prediction should exceed a censoring time, in units of ``time``.

    Returns
    -------
    Scalar; for no patients a zero attached to the graph.

    Raises
    ------
    ValueError : for another name of ``norm``.

    References
    ----------
    Chapfuwa et al. (DATE), ICML 2018; Liu et al. (AdvMIL), Med. Image Anal. 2024.
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f"norm is {norm!r}; it must be 'l1' or 'l2'.")
    if len(predicted) == 0:
        return (predicted * 0).sum()
    excess = predicted - time.to(predicted)
    loss = torch.where(event.to(torch.bool), excess.abs(), relu(gamma - excess))
    if norm == "l2":
        loss = loss.square()
    weight = torch.where(event.to(torch.bool), 1.0, 1.0 - alpha).to(loss)
    return (weight * loss).mean()
