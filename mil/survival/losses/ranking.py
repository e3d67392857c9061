"""Pairwise ranking of risks: the smooth relatives of the concordance index."""

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


def ranking_loss(
    risk: Tensor,
    time: Tensor,
    event: Tensor,
    kind: str = "hinge",
    gamma: float = 1.0,
    scale: float = 1.0,
    norm: str = "l1",
) -> Tensor:
    r"""Return the mean over pairs with :math:`e_i = 1, t_i < t_j` of a loss of :math:`r_i - r_j`.

    ``hinge``: :math:`\max(0, \gamma - (r_i - r_j))`; ``logistic``:
    :math:`\log(1 + e^{-(r_i - r_j)/s})`. It calibrates nothing: use it beside another loss.

    Parameters
    ----------
    risk : [n], higher is worse (minus the time, for a predicted time).
    time, event : [n], [n]; event 1 = seen, 0 = censored.
    kind : ``hinge`` or ``logistic``.
    gamma : margin of the hinge, in units of ``risk``; 1 is huge for times scaled to 0..1.
    scale : s of the logistic form, in units of ``risk``.
    norm : ``l1``, or ``l2`` which squares the hinge.

    Returns
    -------
    Scalar; where no pair is comparable a zero attached to the graph.

    Raises
    ------
    ValueError : for another name of ``kind`` or ``norm``.

    References
    ----------
    Raykar et al., NeurIPS 2007; Steck et al., NeurIPS 2007.
    """
    if kind not in ("hinge", "logistic"):
        raise ValueError(f"kind is {kind!r}; it must be 'hinge' or 'logistic'.")
    if norm not in ("l1", "l2"):
        raise ValueError(f"norm is {norm!r}; it must be 'l1' or 'l2'.")
    comparable = event.to(torch.bool)[:, None] & (time[:, None] < time[None, :])  # [n, n]
    if not comparable.any():
        return (risk * 0).sum()
    lead = (risk[:, None] - risk[None, :])[comparable]  # [pairs]
    if kind == "logistic":
        return softplus(-lead / scale).mean()
    loss = relu(gamma - lead)
    return (loss.square() if norm == "l2" else loss).mean()
