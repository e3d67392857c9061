"""A grade on a bag embedding: classes in an order."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from mil.heads import register
from mil.heads.base import Targets
from mil.heads.target import TargetHead, count_classes, whole


@register("ordinal")
class OrdinalHead(TargetHead):
    r"""One score, cut into grades by thresholds: :math:`P(y > k) = \sigma(w^\top h - b_k)`.

    ``cumulative``: thresholds rise with k by construction and the loss is the negative log
    likelihood of the grade, the proportional odds model (McCullagh, JRSS B 1980). ``coral``:
    thresholds are free and the loss is the sum of the cross-entropies of all k (Cao, Mirjalili and
    Raschka, Pattern Recognition Letters 2020), at whose minimum they rise, too.

    Parameters
    ----------
    width : width H of the embedding.
    fitted : ``classes``, the names of the C grades from the lowest, and ``thresholds`` [C - 1],
        those that give the training part's shares where the score is 0: training starts there.
    form : ``cumulative`` or ``coral``.

    Shapes
    ------
    Raw output: logits of y > k, [B, C - 1], or [B, M, C - 1] of M draws of random attention.
    """

    task: ClassVar[str] = "ordinal"

    def __init__(self, width: int, fitted: dict[str, Any], form: str = "cumulative") -> None:
        super().__init__(nn.Linear(width, 1, bias=False))
        self.check("form", form, ("cumulative", "coral"))
        self.form = form
        self.names = list(fitted["classes"])
        start = torch.tensor(fitted["thresholds"])
        if form == "cumulative":  # the lowest one, then what is added to it, before softplus
            start = torch.cat([start[:1], start.diff().expm1().log()])
        self.thresholds = nn.Parameter(start)

    @classmethod
    def fit(cls, target: NDArray, classes: Sequence[str], **options: Any) -> dict[str, Any]:
        """Return ``classes`` and ``thresholds``.

        Raises
        ------
        HeadError : a grade that no training patient has.
        """
        counts = count_classes("ordinal", target, classes)
        below = counts.cumsum()[:-1]
        thresholds = np.log(below / (counts.sum() - below))
        return {"classes": list(classes), "thresholds": thresholds.tolist()}

    def read(self, logits: Tensor) -> Tensor:
        """Return logits of y > k, [..., C - 1], of scores [..., 1]."""
        thresholds = self.thresholds
        if self.form == "cumulative":
            thresholds = torch.cat([thresholds[:1], softplus(thresholds[1:])]).cumsum(0)
        return logits - thresholds.to(logits.device)

    def classes(self, labels: Targets) -> Tensor:
        """Return the number of the grade of each patient, [B], -1 where unknown."""
        return whole(labels.value)

    def mean_loss(self, output: Tensor, value: Tensor) -> Tensor:
        """Return the mean loss of the chosen form."""
        grade = whole(value).unsqueeze(1)  # [n, 1]
        above = grade > torch.arange(output.shape[1])  # [n, C - 1]
        if self.form == "coral":
            return -torch.where(above, logsigmoid(output), logsigmoid(-output)).sum(1).mean()
        # log P(y = g) of sigma(u) - sigma(v), u the logit of y > g - 1 and v < u that of y > g:
        # it is log sigma(u) + log sigma(-v) + log(1 - exp(v - u)), exact in the tails, too
        open_end = output.new_full((len(output), 1), torch.inf)
        edges = torch.cat([open_end, output, -open_end], 1)  # [n, C + 1]
        u, v = edges.gather(1, grade).squeeze(1), edges.gather(1, grade + 1).squeeze(1)
        inner = torch.isfinite(u) & torch.isfinite(v)
        gap = torch.where(inner, u - v, torch.ones_like(u))  # no infinity gets a gradient
        between = torch.where(inner, torch.log(-torch.expm1(-gap)), torch.zeros_like(u))
        return -(_finite(u) + _finite(-v) + between).mean()

    def meant(self, output: Tensor) -> Tensor:
        """Return the probability [n, M, C] of each grade.

        Free thresholds that do not rise would give negative ones: those are 0 and the rest is
        divided by its sum.
        """
        ends = output.new_ones((*output.shape[:2], 1))
        above = torch.cat([ends, output.sigmoid(), 0 * ends], 2)
        probability = (above[..., :-1] - above[..., 1:]).clamp(min=0)
        return probability / probability.sum(2, keepdim=True)


def _finite(logit: Tensor) -> Tensor:
    """Return the log of the sigmoid; 0, without a gradient, at infinity."""
    known = torch.isfinite(logit)
    return torch.where(known, logsigmoid(torch.where(known, logit, 0.0)), 0.0)
