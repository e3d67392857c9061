"""What heads whose output is a time share: its scale, its losses, what its values mean."""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from mil.heads.base import Head, Labels, Prediction
from mil.survival.losses.regression import recon_loss

OUTPUTS = {
    "softplus": softplus,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "identity": nn.Identity(),
}


class TimedHead(Head):
    r"""Base of heads that give times [B, S] in units of ``t_ref``, the longest training time.

    With a time y, an observed time t, an event e and the margin :math:`\gamma` the loss is the mean
    of :math:`e|y-t| + (1-\alpha)(1-e)\max(0, \gamma-(y-t))` (Chapfuwa et al., ICML 2018).

    Parameters
    ----------
    fitted : ``t_ref``.
    output : ``softplus``, ``exp``, ``sigmoid`` (no time can exceed ``t_ref``) or ``identity`` (may
        be negative).
    norm : ``l1``, or ``l2`` which squares both parts.
    alpha : weight taken from censored patients; with 1 only events are fitted.
    gamma : margin by which a time should exceed a censoring time, in units of ``t_ref``.
    ranking_weight, ranking_margin : see ``Head``; the margin in units of ``t_ref``.
    """

    loss_norms: ClassVar[tuple[str, ...]] = ("l1", "l2")

    def __init__(
        self,
        fitted: dict[str, Any],
        output: str,
        norm: str,
        alpha: float,
        gamma: float,
        ranking_weight: float,
        ranking_margin: float,
    ) -> None:
        super().__init__(ranking_weight, ranking_margin)
        self.check("output", output, OUTPUTS)
        self.check("norm", norm, self.loss_norms)
        self.t_ref = float(fitted["t_ref"])
        self.output = output
        self.norm, self.alpha, self.gamma = norm, alpha, gamma

    @classmethod
    def fit(cls, time: NDArray, event: NDArray, **options: Any) -> dict[str, Any]:
        """Return ``t_ref``, the longest training time."""
        return {"t_ref": float(np.max(time))}

    def logits(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the last layer's output [B, S] for vectors [B, H] and noise [B, S, W]."""
        raise NotImplementedError

    def read(self, logits: Tensor) -> Tensor:
        """Return times [M, S] in units of ``t_ref`` of the last layer's output [M, S]."""
        return OUTPUTS[self.output](logits)

    def forward(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return times [B, S] in units of ``t_ref``."""
        return self.read(self.logits(vector, noise))

    def scaled(self, labels: Labels) -> Tensor:
        """Return the observed times [B] in units of ``t_ref``, float32."""
        return (labels.time / self.t_ref).float()

    def own_loss(self, output: Tensor, labels: Labels) -> Tensor:
        """Return the regression loss, the mean over patients and draws."""
        time, event = self.scaled(labels)[:, None], labels.event[:, None]
        return recon_loss(output, time, event, self.norm, self.alpha, self.gamma)

    def risk(self, output: Tensor) -> Tensor:
        """Return minus the first draw [B]."""
        return -output[:, 0]

    def explained(self, output: Tensor) -> Tensor:
        """Return minus the median draw [B], which is the predicted risk."""
        return -output.median(1).values

    def monitored(self, output: Tensor, labels: Labels) -> Tensor:
        """Return the regression loss of the median draw, censored patients at full weight."""
        median = output.median(1).values
        return recon_loss(median, self.scaled(labels), labels.event, self.norm, gamma=self.gamma)

    def predict(self, output: Tensor) -> Prediction:
        """Return the median draw (of an even number the lower middle one) as the time; no draws."""
        time = output.median(1).values.double().numpy() * self.t_ref
        return Prediction(-time, time, np.zeros((len(time), 0), np.float32))

    def complaints(self, prediction: Prediction) -> list[str]:
        """Return sentences on predictions at a bound of the output."""
        found = super().complaints(prediction)
        time = prediction.time
        if self.output == "identity":
            if (time < 0).any():
                found.append(
                    f"{(time < 0).mean():.0%} of the predicted times are negative; head_options: "
                    "{output: softplus} has none."
                )
            return found
        at_bound = time < 1e-3 * self.t_ref
        if self.output == "sigmoid":
            at_bound |= time > 0.999 * self.t_ref
        if at_bound.mean() > 0.05:
            found.append(f"{at_bound.mean():.0%} of the predicted times lie at the output's bound.")
        return found
