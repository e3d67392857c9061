"""What heads of classes, grades and numbers share: one linear layer, random attention, targets."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mil.heads.base import Estimate, Head, HeadError, Probabilities, Targets
from mil.nn.initialise import xavier_linear_


class TargetHead(Head):
    """Base of heads on one ``nn.Linear`` (``linear``) that learn ``Targets``.

    Raw outputs are [B, C] or, of a model whose attention is random, [B, M, C] for M draws of it:
    the loss is then the mean over draws.

    Parameters
    ----------
    linear : the layer, H -> C.
    """

    reads: ClassVar[type] = Targets

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        xavier_linear_(self)

    def take_outputs(self, model: str) -> None:
        """Leave the layer out: ``model`` gives its outputs itself."""
        self.linear = nn.Identity()

    def forward(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the raw output [B, C]."""
        return self.read(self.linear(vector))

    def usable(self, labels: Targets) -> bool:
        """Return whether any of the patients has labels."""
        return bool(labels.known.any())

    def own_loss(self, output: Tensor, labels: Targets) -> Tensor:
        """Return the mean over patients (and draws of random attention) of the loss of each."""
        value = labels.value
        if output.ndim == 3:
            value = value.repeat_interleave(output.shape[1], 0)
            output = output.flatten(0, 1)
        return self.mean_loss(output, value)

    def mean_loss(self, output: Tensor, value: Tensor) -> Tensor:
        """Return the mean loss of n raw outputs [n, C] for a known value [n] or [n, K] each."""
        raise NotImplementedError

    def predict(self, output: Tensor) -> Probabilities | Estimate:
        """Return what raw outputs mean: the mean over draws of random attention, and the spread."""
        drawn = output.double() if output.ndim == 3 else output.double().unsqueeze(1)
        drawn = self.meant(drawn).numpy()  # [n, M, C]
        return Probabilities(drawn.mean(1), drawn.std(1))

    def meant(self, output: Tensor) -> Tensor:
        """Return what each draw [n, M, C] says on the scale of the prediction, [n, M, C]."""
        raise NotImplementedError

    def complaints(self, prediction: Probabilities | Estimate) -> list[str]:
        """Return a sentence if all patients have the same prediction."""
        told = getattr(prediction, "probability", None)
        told = prediction.value if told is None else told
        if len(told) > 1 and (np.ptp(told, axis=0) <= 1e-6).all():  # rounding
            return ["collapsed: all patients have the same prediction."]
        return []


def whole(value: Tensor) -> Tensor:
    """Return numbers of classes as int64, -1 where unknown."""
    return value.nan_to_num(nan=-1.0).long()


def count_classes(head: str, target: NDArray, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return how many training patients each class has, [C].

    Raises
    ------
    HeadError : a class has nobody; the sentence names it.
    """
    known = target[~np.isnan(target)].astype(int)
    counts = np.bincount(known, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        raise HeadError(
            f"head {head!r}: none of the {len(target)} training patients has {', '.join(missing)}, "
            "so it cannot be learnt. Use fewer folds, or let folds be stratified."
        )
    return counts
