"""Cox's proportional hazards on a bag embedding."""

from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from mil.heads import register
from mil.heads.base import Head, Labels, Prediction
from mil.nn.initialise import xavier_linear_
from mil.survival.losses.cox import cox_loss
from mil.survival.losses.legacy import legacy_cox_loss


@register("cox")
class CoxHead(Head):
    r"""Log risk :math:`\eta = w^\top \mathrm{ReLU}(A h + a) + b` (Cox, 1972; Katzman et al., 2018).

    The risk set is the window of a step, so windows hold at least 32 patients (where the training
    part has as many). The head itself orders patients; survival and a predicted time come from
    Breslow's baseline on the predictions of the training part (``mil.prediction``).

    Parameters
    ----------
    width : width of the embedding.
    fitted : nothing is fitted.
    ties : ``efron`` or ``breslow``.
    dropout : before the last layer.
    ranking_weight, ranking_margin : see ``Head``; the margin in units of the log risk.
    legacy_loss : train on AdvMIL's form of the loss, which loses track of who had the event;
        ``ties`` then has no say.
    """

    compares_patients = True
    least_window: ClassVar[int] = 32
    proportional: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        fitted: dict[str, Any],
        ties: str = "efron",
        dropout: float = 0.25,
        ranking_weight: float = 0.0,
        ranking_margin: float = 1.0,
        legacy_loss: bool = False,
    ) -> None:
        super().__init__(ranking_weight, ranking_margin)
        self.check("ties", ties, ("efron", "breslow"))
        self.ties = ties
        self.legacy_loss = legacy_loss
        half = max(width // 2, 1)
        self.layers = nn.Sequential(
            nn.Linear(width, half), nn.ReLU(), nn.Dropout(dropout), nn.Linear(half, 1)
        )
        xavier_linear_(self)

    def forward(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the log risk [B]."""
        return self.read(self.layers(vector))

    def read(self, logits: Tensor) -> Tensor:
        """Return the log risk [M] of logits [M, 1]."""
        return logits.squeeze(-1)

    def usable(self, labels: Labels) -> bool:
        """Return whether some event has somebody else at risk."""
        return bool((labels.event & (labels.time < labels.time.max())).any()) or (
            int((labels.event & (labels.time == labels.time.max())).sum()) > 1
        )

    def own_loss(self, output: Tensor, labels: Labels) -> Tensor:
        """Return the negative log partial likelihood per event."""
        if self.legacy_loss:
            return legacy_cox_loss(output, labels.time, labels.event, paired=False)
        return cox_loss(output, labels.time, labels.event, ties=self.ties)

    def risk(self, output: Tensor) -> Tensor:
        """Return the log risk [B]."""
        return output

    def monitored(self, output: Tensor, labels: Labels) -> Tensor:
        """Return the loss without the ranking term; in its legacy form events are paired here."""
        if self.legacy_loss:
            return legacy_cox_loss(output, labels.time, labels.event, paired=True)
        return self.own_loss(output, labels)

    def predict(self, output: Tensor) -> Prediction:
        """Return the log risk as risk; the time needs a baseline."""
        risk = output.double().numpy()
        return Prediction(risk, None, np.zeros((len(risk), 0), np.float32))
