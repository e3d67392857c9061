"""Hazards of discrete time bins on a bag embedding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from mil.heads import register
from mil.heads.base import Head, HeadError, Labels, Prediction
from mil.nn.initialise import xavier_linear_
from mil.survival.losses.nll import assign_bins, fit_bins, nll_loss


@register("nll")
class NLLHead(Head):
    r"""Discrete-time hazards :math:`h_k = \sigma(z_k)` (Zadeh and Schmid, 2020; Chen et al., 2021).

    Parameters
    ----------
    width : width of the embedding.
    fitted : ``edges`` [K + 1], the last infinite: quantiles of the training events' times.
    bins : K; fewer where training times coincide.
    alpha : 0 is the likelihood; towards 1 censored patients count less.
    censor_convention : ``end`` or ``start``, see ``mil.survival.losses.nll``.
    dropout : before the last layer.
    ranking_weight, ranking_margin : see ``Head``; the margin in units of the last finite edge.
    legacy_labels : take events for censored and censored for events in the loss, as AdvMIL does.
    """

    def __init__(
        self,
        width: int,
        fitted: dict[str, Any],
        bins: int = 4,
        alpha: float = 0.0,
        censor_convention: str = "end",
        dropout: float = 0.25,
        ranking_weight: float = 0.0,
        ranking_margin: float = 0.1,
        legacy_labels: bool = False,
    ) -> None:
        super().__init__(ranking_weight, ranking_margin)
        self.check("censor_convention", censor_convention, ("end", "start"))
        self.edges = np.asarray(fitted["edges"], dtype=np.float64)
        self.alpha = alpha
        self.censor_convention = censor_convention
        self.legacy_labels = legacy_labels
        half = max(width // 2, 1)
        self.layers = nn.Sequential(
            nn.Linear(width, half),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(half, len(self.edges) - 1),
        )
        xavier_linear_(self)

    @classmethod
    def fit(cls, time: NDArray, event: NDArray, bins: int = 4, **options: Any) -> dict[str, Any]:
        """Return ``edges`` from the training patients.

        Raises
        ------
        HeadError : fewer than two bins are left.
        """
        edges = fit_bins(time, event, bins)
        if len(edges) < 3:
            raise HeadError(
                f"head 'nll': {bins} time bins asked for and {len(edges) - 1} left, from "
                f"{int(np.sum(event))} training events; it takes two. Use another head or bins."
            )
        return {"edges": [float(edge) for edge in edges]}

    @classmethod
    def outputs(cls, fitted: Mapping[str, Any]) -> int:
        """Return the number of bins, K."""
        return len(fitted["edges"]) - 1

    def classes(self, labels: Labels) -> Tensor:
        """Return the bin [B] of an event; of a censored patient it is unknown, -1."""
        bins = torch.from_numpy(assign_bins(labels.time.numpy(), self.edges))
        return torch.where(labels.event, bins, -1)

    def forward(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the logits [B, K]."""
        return self.layers(vector)

    def own_loss(self, output: Tensor, labels: Labels) -> Tensor:
        """Return the mean negative log likelihood."""
        bins = torch.from_numpy(assign_bins(labels.time.numpy(), self.edges))
        event = ~labels.event if self.legacy_labels else labels.event
        return nll_loss(output, bins, event, self.alpha, self.censor_convention)

    def restricted_mean(self, output: Tensor) -> Tensor:
        """Return the mean time [B] up to the last finite edge, survival in straight lines."""
        survival = logsigmoid(-output).cumsum(1).exp()[:, :-1]  # at the finite edges but 0
        values = pad(survival, (1, 0), value=1.0)  # [B, K]
        widths = torch.from_numpy(np.diff(self.edges[:-1])).to(output)  # [K - 1]
        return ((values[:, :-1] + values[:, 1:]) / 2 * widths).sum(1)

    def risk(self, output: Tensor) -> Tensor:
        """Return minus the restricted mean [B], in units of the last finite edge."""
        return -self.restricted_mean(output) / self.edges[-2]

    def predict(self, output: Tensor) -> Prediction:
        """Return minus the restricted mean as risk and the median as time.

        Survival runs in straight lines between the edges and is not followed past the last finite
        one: it bounds both the mean and the median.
        """
        survival = logsigmoid(-output.double()).cumsum(1).exp().numpy()  # [n, K]
        knots = self.edges[:-1]  # [K], finite
        values = np.hstack([np.ones((len(survival), 1)), survival[:, :-1]])  # S at the knots
        mean = self.restricted_mean(output.double()).numpy()
        median = np.array([_crossing(knots, curve) for curve in values])
        draws = np.zeros((len(survival), 0), np.float32)
        return Prediction(-mean, median, draws, survival)


def _crossing(knots: NDArray, curve: NDArray, level: float = 0.5) -> float:
    """Return where a falling curve through the knots meets ``level``, at most the last knot."""
    below = np.flatnonzero(curve <= level)
    if len(below) == 0:
        return float(knots[-1])
    k = below[0]  # the curve starts at 1, so k >= 1
    share = (curve[k - 1] - level) / (curve[k - 1] - curve[k])
    return float(knots[k - 1] + share * (knots[k] - knots[k - 1]))
