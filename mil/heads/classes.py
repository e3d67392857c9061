"""One of several classes, or several labels, on a bag embedding."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as _of_sigmoids
from torch.nn.functional import cross_entropy, one_hot

from mil.heads import register
from mil.heads.base import HeadError, Probabilities, Targets
from mil.heads.target import TargetHead, count_classes, whole
from mil.losses.smooth_svm import smooth_svm_loss


@register("classes")
class ClassesHead(TargetHead):
    r"""Class probabilities :math:`\mathrm{softmax}(W h + b)` or :math:`\sigma(W h + b)`.

    Two classes have one sigmoid (of the second class) unless ``link`` says softmax; of more classes
    ``sigmoid`` holds each against all others (as DSMIL does), and probabilities are the sigmoids
    divided by their sum. Labels that do not exclude each other have a sigmoid each.

    Parameters
    ----------
    width : width H of the embedding.
    fitted : ``classes``, their names; ``outputs``, the width C of the layer; ``several``, whether
        they are labels that do not exclude each other; ``weights`` [C] or, of several labels,
        [K, 2] for 0 and 1.
    link : ``auto``, ``sigmoid`` or ``softmax``.
    loss : ``cross_entropy``, or ``svm``, the smooth top-1 SVM (Berrada, Zisserman and Kumar, ICLR
        2018) on one output a class: with two classes it takes ``link: softmax``.
    class_weights : ``none``, or ``balanced``: patients of a class with n_c of n training patients
        weigh n / (C n_c), so that classes weigh alike and the mean weight is 1.
    average : over draws of random attention, of the ``probability`` or of the ``logit``.

    Shapes
    ------
    Raw output: logits [B, C], or [B, M, C] of M draws.
    """

    task: ClassVar[str] = "classification"

    def __init__(
        self,
        width: int,
        fitted: dict[str, Any],
        link: str = "auto",
        loss: str = "cross_entropy",
        class_weights: str = "none",
        average: str = "probability",
    ) -> None:
        outputs = int(fitted["outputs"])
        super().__init__(nn.Linear(width, outputs))
        self.check("link", link, ("auto", "sigmoid", "softmax"))
        self.check("loss", loss, ("cross_entropy", "svm"))
        self.check("class_weights", class_weights, ("none", "balanced"))
        self.check("average", average, ("probability", "logit"))
        self.names = list(fitted["classes"])
        self.several = bool(fitted["several"])
        self.softmax = link == "softmax" or (link == "auto" and outputs > 1 and not self.several)
        self.average = average
        self.svm = loss == "svm"
        if self.svm and not self.softmax:
            raise HeadError(
                "head 'classes': loss is svm, which compares one output a class with the others; "
                "set link: softmax (labels that do not exclude each other cannot have it)."
            )
        self.register_buffer("weights", torch.tensor(fitted["weights"]), persistent=False)
        self.weighted = bool((self.weights != 1).any())

    @classmethod
    def fit(
        cls,
        target: NDArray,
        classes: Sequence[str],
        link: str = "auto",
        class_weights: str = "none",
        **options: Any,
    ) -> dict[str, Any]:
        """Return ``classes``, ``outputs``, ``several`` and ``weights``.

        Parameters
        ----------
        target : [n] number of the class, or [n, K] of K labels 1 or 0; NaN where unknown.
        classes : names of the classes or labels.

        Raises
        ------
        HeadError : a class that no training patient is of.
        """
        several = target.ndim == 2
        if several and link == "softmax":
            raise HeadError(
                "head 'classes': link is softmax, but the labels do not exclude each other; take "
                "sigmoid or auto."
            )
        if several:
            parts = [
                count_classes("classes", column, [f"{name} = 0", f"{name} = 1"])
                for column, name in zip(target.T, classes, strict=True)
            ]
        else:
            parts = [count_classes("classes", target, classes)]
        weights = [
            (n.sum() / (len(n) * n) if class_weights == "balanced" else np.ones(len(n))).tolist()
            for n in parts
        ]
        one = len(classes) == 2 and not several and link != "softmax"
        return {
            "classes": list(classes),
            "outputs": 1 if one else len(classes),
            "several": several,
            "weights": weights if several else weights[0],
        }

    @classmethod
    def outputs(cls, fitted: Mapping[str, Any]) -> int:
        """Return the width C of the layer: 1 for two classes by one sigmoid."""
        return int(fitted["outputs"])

    def classes(self, labels: Targets) -> Tensor:
        """Return the class of each patient [B], -1 where unknown; labels beside each other: -1."""
        return super().classes(labels) if self.several else whole(labels.value)

    def mean_loss(self, output: Tensor, value: Tensor) -> Tensor:
        """Return the mean of the weighted cross-entropies; of several sigmoids it is their mean."""
        if self.several:
            known = ~value.isnan()
            truth = value.nan_to_num()
            weights = self._of(truth.long()) * known / known.sum(1, keepdim=True)  # [n, K]
            total = _of_sigmoids(output, truth.to(output), weights.to(output), reduction="sum")
            return total / len(output)
        number = whole(value)
        weights = self.weights.cpu()[number].to(output) if self.weighted else None
        if self.softmax:
            losses = (
                smooth_svm_loss(output, number)
                if self.svm
                else cross_entropy(output, number, reduction="none")
            )
            return (losses if weights is None else losses * weights).mean()
        one = output.shape[1] == 1
        truth = number.unsqueeze(1) if one else one_hot(number, output.shape[1])  # [n, C]
        weights = None if weights is None else weights.unsqueeze(1)
        return _of_sigmoids(output, truth.to(output), weights)

    def _of(self, truth: Tensor) -> Tensor:
        """Return the weights [B, K] of labels [B, K]."""
        return self.weights.cpu()[torch.arange(truth.shape[1]), truth]

    def meant(self, output: Tensor) -> Tensor:
        """Return the probability [n, M, C] of each class."""
        if self.softmax:
            return output.softmax(2)
        probability = output.sigmoid()
        if self.several:
            return probability
        if output.shape[2] == 1:
            return torch.cat([1 - probability, probability], 2)
        return probability / probability.sum(2, keepdim=True)

    def predict(self, output: Tensor) -> Probabilities:
        """Return the probability of each class; ``average`` says what of draws is averaged."""
        told = super().predict(output)
        if self.average == "logit" and output.ndim == 3:
            return Probabilities(super().predict(output.double().mean(1)).probability, told.spread)
        return told
