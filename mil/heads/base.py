"""What every head is: output layers, loss, what is fitted, and what the output means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mil.discriminator import Discriminator
from mil.survival.losses.ranking import ranking_loss


class HeadError(ValueError):
    """An option of a head that cannot be; the message says which and what it may be."""

    is_sentence = True


@dataclass(frozen=True)
class Labels:
    """Observed times of B patients, on the CPU.

    Supervised losses are computed there: they are a few numbers a patient, and several of their
    operations (cumulative sums, medians) have no deterministic form on a GPU.

    Shapes
    ------
    time [B] float64, in the unit of the patient table, NaN of a patient without labels; event [B]
    bool, True = event seen.
    """

    time: Tensor
    event: Tensor

    @classmethod
    def of(cls, time: NDArray, event: NDArray) -> "Labels":
        """Return arrays of times and events as tensors."""
        return cls(
            torch.tensor(np.asarray(time, dtype=np.float64)), torch.tensor(np.asarray(event) > 0)
        )

    def __len__(self) -> int:
        """Return the number of patients, B."""
        return len(self.time)

    @cached_property
    def known(self) -> Tensor:
        """Who has labels, [B]."""
        return ~self.time.isnan()

    def at(self, patients: Tensor | slice) -> "Labels":
        """Return the labels of some of the patients."""
        return Labels(self.time[patients], self.event[patients])


@dataclass(frozen=True)
class Targets:
    """What B patients are, where it is no time: ``Labels`` of the other tasks, on the CPU.

    Shapes
    ------
    value [B] float64: the number of a class or grade, from 0, or a measured number; [B, K] of K
    labels that exclude each other nowhere: 1 or 0. NaN where it is unknown.
    """

    value: Tensor

    @classmethod
    def of(cls, value: NDArray) -> "Targets":
        """Return an array of targets as a tensor."""
        return cls(torch.tensor(np.asarray(value, dtype=np.float64)))

    def __len__(self) -> int:
        """Return the number of patients, B."""
        return len(self.value)

    @cached_property
    def known(self) -> Tensor:
        """Who has labels, [B]; of several labels, one at least."""
        known = ~self.value.isnan()
        return known if known.ndim == 1 else known.any(1)

    def at(self, patients: Tensor | slice) -> "Targets":
        """Return the targets of some of the patients."""
        return Targets(self.value[patients])


def labelled(output: Tensor, labels: Labels | Targets) -> tuple[Tensor, Labels | Targets]:
    """Return outputs and labels of the patients who have labels."""
    known = labels.known
    return (output, labels) if known.all() else (output[known], labels.at(known))


class OfPatients:
    """Columns over n patients, in the fields of a dataclass; a column may be None."""

    @staticmethod
    def together(parts: Sequence[Any]) -> Any:
        """Return what is said of several groups of patients as one; one group at least."""
        kind = type(parts[0])
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(kind)}
        return kind(
            **{
                name: None if values[0] is None else np.concatenate(values)
                for name, values in columns.items()
            }
        )


@dataclass(frozen=True)
class Prediction(OfPatients):
    """What a head says of the survival of n patients, on the scale of the patient table.

    Shapes
    ------
    risk [n]: higher is worse. time [n] or None: the predicted time. draws [n, K]: samples of it,
    K = 0 for heads without any. survival [n, bins] or None: at the right edge of every time bin.
    """

    risk: NDArray[np.float64]
    time: NDArray[np.float64] | None
    draws: NDArray[np.float32]
    survival: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Probabilities(OfPatients):
    """What a head says of the classes of n patients.

    Shapes
    ------
    probability [n, C]: of each class; rows sum to 1, or, of labels that do not exclude each other,
    each is that of its label. spread [n, C]: standard deviation of it over random attention, 0
    where nothing is random.
    """

    probability: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True)
class Estimate(OfPatients):
    """What a head says of a number of n patients, on the scale of the patient table.

    Shapes
    ------
    value [n]; spread [n]: standard deviation over random attention, 0 where nothing is random.
    """

    value: NDArray[np.float64]
    spread: NDArray[np.float64]


class Head(nn.Module):
    """Base of all heads.

    A head is built as ``(width of the embedding, fitted values, **options)``. To its own loss any
    head of survival may add ``ranking_weight`` times the mean over comparable pairs of
    ``max(0, ranking_margin - (risk_i - risk_j))``, i having failed before j.

    Parameters
    ----------
    ranking_weight : 0 for no such term.
    ranking_margin : in units of ``risk``.

    Attributes
    ----------
    task : what it predicts, a name of ``mil.tasks``.
    reads : ``Labels``, or ``Targets`` of tasks other than survival.
    learning_rate, weight_decay : defaults of the optimiser.
    compares_patients : the loss is over pairs or risk sets, so it takes the outputs of a whole
        step; otherwise it is a mean over patients, and a step may add it up from parts.
    least_window : fewest patients a step should hold.
    updates : steps of the network on one window, for one step of its opponent.
    training_draws : draws of the output a patient in such a step.
    proportional : the risk is a log hazard ratio; survival takes a baseline fitted on the
        predictions of the training part.
    """

    name: str
    task: ClassVar[str] = "survival"
    reads: ClassVar[type] = Labels
    learning_rate: ClassVar[float] = 2e-4
    weight_decay: ClassVar[float] = 1e-5
    compares_patients: bool = False
    least_window: ClassVar[int] = 1
    updates: int = 1
    training_draws: int = 1
    proportional: ClassVar[bool] = False

    def __init__(self, ranking_weight: float = 0.0, ranking_margin: float = 0.0) -> None:
        super().__init__()
        self.ranking_weight = ranking_weight
        self.ranking_margin = ranking_margin
        self.compares_patients = type(self).compares_patients or ranking_weight > 0

    def check(self, key: str, value: Any, allowed: Iterable[Any]) -> None:
        """Refuse a value of an option that is not among those allowed."""
        allowed = list(allowed)
        if value not in allowed:
            raise HeadError(
                f"head {self.name!r}: {key} is {value!r}; it must be {', '.join(allowed)}."
            )

    @classmethod
    def fit(cls, time: NDArray, event: NDArray, **options: Any) -> dict[str, Any]:
        """Return what is fitted on the training part: plain numbers and lists, to be stored.

        Heads of other tasks take a target [n] or [n, K] in the place of time and event.
        """
        return {}

    @classmethod
    def outputs(cls, fitted: Mapping[str, Any]) -> int:
        """Return the width C of the last layer."""
        return 1

    def read(self, logits: Tensor) -> Tensor:
        """Return what logits [M, C], in the place of the last layer's, are as a raw output."""
        return logits

    def take_outputs(self, model: str) -> None:
        """Leave the layers out: ``model`` gives their outputs itself (``BagModel.gives_outputs``).

        Raises
        ------
        HeadError : a head that is nothing without its layers.
        """
        self.layers = nn.Identity()

    def classes(self, labels: Labels | Targets) -> Tensor:
        """Return which of C classes each patient is of, [B] int64, -1 where that is unknown.

        For models whose instances learn a class (``BagModel.instance_loss``). A head without
        classes knows none.
        """
        return torch.full((len(labels),), -1)

    def opponent(self, in_dim: int) -> Discriminator | None:
        """Return the discriminator this head trains against, or None."""
        return None

    def noise(self, patients: int, draws: int, generator: torch.Generator) -> Tensor:
        """Return noise [patients, draws, W] for ``forward``; W = 0 for heads without any."""
        return torch.empty(patients, 1, 0)

    def forward(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the raw output for embeddings [B, H] and noise [B, S, W]."""
        raise NotImplementedError

    def usable(self, labels: Labels | Targets) -> bool:
        """Return whether the loss of these patients says anything."""
        return True

    def loss(self, output: Tensor, labels: Labels | Targets) -> Tensor:
        """Return the supervised training loss of raw outputs (on the CPU)."""
        loss = self.own_loss(output, labels)
        if self.ranking_weight > 0:
            risk, margin = self.risk(output), self.ranking_margin
            ranking = ranking_loss(risk, labels.time, labels.event, gamma=margin)
            loss = loss + self.ranking_weight * ranking
        return loss

    def own_loss(self, output: Tensor, labels: Labels | Targets) -> Tensor:
        """Return the loss without the ranking term."""
        raise NotImplementedError

    def risk(self, output: Tensor) -> Tensor:
        """Return the risk [B] of raw outputs, differentiable: higher is worse."""
        raise NotImplementedError

    def explained(self, output: Tensor) -> Tensor:
        """Return what ``mil.contributions`` take apart, [B] of raw outputs (on the CPU)."""
        return self.risk(output)

    def monitored(self, output: Tensor, labels: Labels | Targets) -> Tensor:
        """Return the loss that chooses the epoch, from raw outputs (on the CPU) of validation."""
        return self.own_loss(output, labels)

    def predict(self, output: Tensor) -> OfPatients:
        """Return what raw outputs (on the CPU) mean: ``Prediction`` of a head of survival."""
        raise NotImplementedError

    def complaints(self, prediction: OfPatients) -> list[str]:
        """Return sentences on predictions that look degenerate."""
        risk = prediction.risk
        if len(risk) > 1 and np.ptp(risk) <= 1e-6 * max(np.abs(risk).max(), 1e-2):  # rounding
            return ["collapsed: all patients have the same risk."]
        return []
