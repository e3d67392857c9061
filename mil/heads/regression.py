"""A number on a bag embedding."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mil.heads import register
from mil.heads.base import Estimate
from mil.heads.target import TargetHead


@register("regression")
class RegressionHead(TargetHead):
    r"""One number, :math:`w^\top h + b` in units of the training part's standard deviation.

    Parameters
    ----------
    width : width H of the embedding.
    fitted : ``mean`` and ``scale`` of the training targets.
    norm : ``l2``, the squared error, or ``l1``, the absolute one.

    Shapes
    ------
    Raw output: [B, 1], or [B, M, 1] of M draws of random attention; standardised.
    """

    task: ClassVar[str] = "regression"

    def __init__(self, width: int, fitted: dict[str, Any], norm: str = "l2") -> None:
        super().__init__(nn.Linear(width, 1))
        self.check("norm", norm, ("l1", "l2"))
        self.norm = norm
        self.mean, self.scale = float(fitted["mean"]), float(fitted["scale"])

    @classmethod
    def fit(cls, target: NDArray, **options: Any) -> dict[str, Any]:
        """Return ``mean`` and ``scale`` of the training targets; of equal ones the scale is 1."""
        scale = float(np.nanstd(target))
        return {"mean": float(np.nanmean(target)), "scale": scale if scale > 0 else 1.0}

    def mean_loss(self, output: Tensor, value: Tensor) -> Tensor:
        """Return the mean squared or absolute error of standardised numbers."""
        error = output.squeeze(1) - ((value - self.mean) / self.scale).to(output)
        return (error.square() if self.norm == "l2" else error.abs()).mean()

    def predict(self, output: Tensor) -> Estimate:
        """Return the number on the scale of the table: the mean over draws, and their spread."""
        drawn = (output.double() * self.scale + self.mean).reshape(len(output), -1).numpy()
        return Estimate(drawn.mean(1), drawn.std(1))
