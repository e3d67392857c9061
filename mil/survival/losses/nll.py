"""Discrete-time likelihood of censored data: bins, hazards, loss."""

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, pad


def fit_bins(time: ArrayLike, event: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return the edges ``0 = b_0 < ... < b_k = inf`` of k bins with equally many events.

    Fit them on training patients only; the inner edges are quantiles of their event times.

    Parameters
    ----------
    time : [n], times of the training patients.
    event : [n], 1 = event seen, 0 = censored.
    k : number of bins, at least 1.

    Returns
    -------
    Edges [k + 1], in the unit of ``time``; fewer where quantiles coincide (with a warning).

    Raises
    ------
    ValueError : no event among the training patients, or k below 1.
    """
    time = np.asarray(time, dtype=np.float64)
    seen = np.asarray(event).astype(bool)
    if k < 1:
        raise ValueError(f"The number of time bins is {k}; it must be at least 1.")
    if not seen.any():
        raise ValueError(
            f"Time bins need events: none of the {len(time)} training patients has one. "
            "Use fewer folds or stratify them by event."
        )
    inner = np.quantile(time[seen], np.linspace(0, 1, k + 1)[1:-1])
    edges = np.unique(np.concatenate([[0.0], inner, [np.inf]]))
    if len(edges) < k + 1:
        warnings.warn(
            f"Only {len(edges) - 1} of {k} time bins are distinct: the {seen.sum()} training "
            "events share too few times. Bins with the same edges were merged.",
            stacklevel=2,
        )
    return edges


def assign_bins(time: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """Return the bin 0..K-1 of every time; a time equal to an edge goes to the right-hand bin."""
    return np.searchsorted(edges, np.asarray(time, dtype=np.float64), side="right") - 1


def hazards_to_survival(hazards: Tensor) -> Tensor:
    """Return S [n, K] at the right edge of every bin, the product of ``1 - hazards`` [n, K]."""
    return torch.cumprod(1 - hazards, dim=-1)


def nll_loss(
    logits: Tensor,
    bin: Tensor,
    event: Tensor,
    alpha: float = 0.0,
    censor_convention: str = "end",
) -> Tensor:
    r"""Return the mean negative log likelihood of binned, censored times.

    With hazards :math:`h_k = \sigma(z_k)` and :math:`S_k = \prod_{j \le k} (1 - h_j)` an event in
    bin y costs :math:`-\log S_{y-1} - \log h_y`, a censored patient
    :math:`-(1-\alpha) \log S_y`. Computed in log space without a clamp.

    Parameters
    ----------
    logits : [n, K], z, float32 or float64.
    bin : [n], index 0..K-1 of the patient's bin (``assign_bins``).
    event : [n], 1 = event seen, 0 = censored.
    alpha : 0 is the likelihood; towards 1 censored patients count less.
    censor_convention : ``end`` credits a censored patient with the whole of its bin, ``start`` with
        the bins before it.

    Returns
    -------
    Scalar; for no patients a zero attached to the graph.

    Raises
    ------
    ValueError : for another name of ``censor_convention``.

    References
    ----------
    Zadeh and Schmid, IEEE TPAMI 2020; Chen et al. (MCAT), ICCV 2021.
    """
    if censor_convention not in ("end", "start"):
        raise ValueError(
            f"censor_convention is {censor_convention!r}; it must be 'end' or 'start'."
        )
    if len(logits) == 0:
        return (logits * 0).sum()
    y = bin.to(torch.int64)[:, None]
    log_survival = pad(logsigmoid(-logits).cumsum(dim=1), (1, 0))  # [n, K + 1]; column 0: S = 1
    log_before = log_survival.gather(1, y)[:, 0]
    log_after = log_survival.gather(1, y + 1)[:, 0]
    log_hazard = logsigmoid(logits).gather(1, y)[:, 0]
    uncensored = -log_before - log_hazard
    censored = -(log_after if censor_convention == "end" else log_before)
    return torch.where(event.to(torch.bool), uncensored, (1 - alpha) * censored).mean()
