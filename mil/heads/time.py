"""Regression of the time on a bag embedding."""

from typing import Any

from torch import Tensor, nn

from mil.heads import register
from mil.heads.timed import TimedHead
from mil.nn.initialise import xavier_linear_


@register("time")
class TimeHead(TimedHead):
    r"""One time for each patient, :math:`y = g(w^\top \mathrm{ReLU}(A h + a) + b)`.

    AdvMIL's generator without noise and without an opponent: its control. The original's own form
    on regions is ``output: sigmoid, norm: l2, alpha: 1``, squared errors of events alone.

    Parameters
    ----------
    width : width of the embedding.
    fitted : ``t_ref``, the longest time of the training part.
    output, norm, alpha, gamma, ranking_weight, ranking_margin : see ``TimedHead``.
    layer_norm : normalise the hidden layer before its ReLU.
    dropout : before the last layer.
    """

    def __init__(
        self,
        width: int,
        fitted: dict[str, Any],
        output: str = "softplus",
        layer_norm: bool = False,
        dropout: float = 0.25,
        norm: str = "l1",
        alpha: float = 0.0,
        gamma: float = 0.0,
        ranking_weight: float = 0.0,
        ranking_margin: float = 0.1,
    ) -> None:
        super().__init__(fitted, output, norm, alpha, gamma, ranking_weight, ranking_margin)
        half = max(width // 2, 1)
        self.layers = nn.Sequential(
            nn.Linear(width, half),
            nn.LayerNorm(half) if layer_norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(half, 1),
        )
        xavier_linear_(self)

    def logits(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the last layer's output [B, 1]."""
        return self.layers(vector)
