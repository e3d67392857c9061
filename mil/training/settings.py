"""What can be set about training, with the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from mil.problems import InputError, did_you_mean
from mil.rate_schedules import SCHEDULES
from mil.tasks import SCORES


class TrainingError(InputError):
    """A training that cannot be; the sentences say why and what to do."""


CHOICES = {
    "monitor": ("loss", *SCORES.values()),
    "optimiser": ("adam", "adamw", "radam"),
    "schedule": SCHEDULES,
    "precision": ("auto", "float32", "bfloat16", "float16"),
}
LEGACY = {
    "monitor": "a lower C-index counts as better, so that the worst epoch is kept",
    "drop_last": "windows of exactly training.window patients; those left over take no step",
    "fresh_noise": "validation with one draw of the time a patient, another one every epoch",
    "table_scale": "time scale and bins are fitted on all patients of the fold, test ones included",
}


@dataclass(frozen=True)
class TrainingSettings:
    """Keys of ``training`` in the configuration.

    Attributes
    ----------
    epochs : most passes over the training patients.
    window : most patients in one optimiser step; losses that compare patients take at least 32.
    optimiser : ``adam``, whose weight decay is L2 in the loss, ``adamw`` or ``radam``, whose is
        not.
    betas : decay of the optimiser's averages of gradients and of their squares.
    lookahead : the optimiser's steps for one of slow weights, half the way after them; 0: none.
    clip_norm : norm that the gradients of a step are scaled down to; None: any.
    ema : decay, step by step, of an average of the parameters, which is validated, chosen and
        kept instead of them; 0: none.
    learning_rate, weight_decay : of it (decay on tensors with several dimensions); None: the
        head's.
    l1 : weight of the sum of absolute parameters.
    patience : epochs without a better validation value before training stops.
    warmup : first epochs, which can neither be chosen nor count as without improvement.
    schedule : of the learning rate: ``plateau``, ``cosine``, ``steps`` or ``constant``.
    plateau_factor, plateau_patience : the learning rate is multiplied by the factor after so many
        epochs without a better validation value.
    cosine_floor : learning rate that half a cosine comes down to in ``epochs`` epochs.
    step_epochs, step_factor : the learning rate is multiplied by the factor after these epochs.
    monitor : ``loss`` (lower is better) or the score of the task (higher is better: ``c_index``,
        ``auroc``, ``kappa`` or ``r2``), on the validation part.
    balanced : draw the patients of an epoch so that classes (or events and censored) come equally
        often, instead of each patient once.
    validation_draws, draws : samples of the time for a patient, in validation and in predictions.
    standardise : scale each feature by mean and standard deviation of the training part.
    sample : training patients that are kept: below 1 a share, otherwise a count; None: all.
    precision : of the model and the discriminator in training: ``float32``, ``bfloat16``,
        ``float16`` or ``auto``, see ``choose_precision``. Heads, losses, parameters, validation and
        predictions are never in less than float32.
    annealing : how the weights of a model's own terms of the loss change, by their names, see
        ``mil.annealing``; those that are not named have weight 1.
    legacy : ways of AdvMIL's code to train in, names of ``LEGACY``.
    """

    epochs: int = 300
    window: int = 16
    optimiser: str = "adam"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    lookahead: int = 0
    clip_norm: float | None = None
    ema: float = 0.0
    learning_rate: float | None = None
    weight_decay: float | None = None
    l1: float = 1e-5
    patience: int = 30
    warmup: int = 5
    schedule: str = "plateau"
    plateau_factor: float = 0.5
    plateau_patience: int = 10
    cosine_floor: float = 0.0
    step_epochs: list[int] = field(default_factory=list)
    step_factor: float = 0.1
    monitor: str = "loss"
    validation_draws: int = 30
    draws: int = 200
    standardise: bool = False
    sample: float | None = None
    balanced: bool = False
    precision: str = "auto"
    annealing: dict[str, Any] = field(default_factory=dict)
    legacy: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, experiment: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings of an experiment.

        Raises
        ------
        TrainingError : a key that does not exist, or a value that is none of the choices.
        """
        given = dict(experiment.get("training") or {})
        known = [field.name for field in fields(cls)]
        problems = [
            f"experiment {experiment.get('name')!r}: training has no key {key!r}"
            f"{did_you_mean(key, known) or '.'}"
            for key in given
            if key not in known
        ]
        problems += [
            f"experiment {experiment.get('name')!r}: training.{key} is {given[key]!r}; it must be "
            f"{' or '.join(allowed)}."
            for key, allowed in CHOICES.items()
            if given.get(key, allowed[0]) not in allowed
        ]
        problems += [
            f"experiment {experiment.get('name')!r}: training.legacy has {name!r}; its names are "
            f"{', '.join(LEGACY)}{did_you_mean(name, LEGACY) or '.'}"
            for name in given.get("legacy", ())
            if name not in LEGACY
        ]
        score = SCORES[(experiment.get("task") or {"name": "survival"})["name"]]
        if given.get("monitor", "loss") in set(SCORES.values()) - {score}:
            problems.append(
                f"experiment {experiment.get('name')!r}: training.monitor is {given['monitor']!r}, "
                f"but the task is scored by {score}; it must be loss or {score}."
            )
        if given.get("balanced") and score == "r2":
            problems.append(
                f"experiment {experiment.get('name')!r}: training.balanced is true, but a number "
                "has no classes to be balanced; set it to false."
            )
        if problems:
            raise TrainingError(problems)
        return cls(**given)


@dataclass(frozen=True)
class Running:
    """How a job runs and who watches it: what decides no result, and so re-runs nothing.

    Attributes
    ----------
    device : ``auto`` takes a GPU if there is one.
    tensorboard : folder of event files, one below it a fold of an experiment; None for none.
    wandb : of Weights & Biases ``project``, ``mode`` (``offline`` or ``online``) and ``folder`` of
        their files; without a project there is no record.
    """

    device: str = "auto"
    tensorboard: str | None = None
    wandb: Mapping[str, Any] = field(default_factory=dict)


def choose_device(name: str) -> torch.device:
    """Return the device to compute on; ``auto`` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError([f"device {name!r}: there is no GPU here. Set device: auto or cpu."])
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision to train in.

    ``auto`` is bfloat16 on a GPU that computes in it, and float32 elsewhere: it has the range of
    float32, which float16 has not, and a training has nothing to compare with beforehand.
    """
    if name == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if able else "float32"
    return getattr(torch, name)
