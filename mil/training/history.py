"""The record of a training: one row an epoch."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from wsi.storage import atomic


@dataclass
class Epoch:
    """What an epoch left behind; NaN where a head has no such number.

    Attributes
    ----------
    epoch : from 1.
    learning_rate : during the epoch.
    train_loss, validation_loss : supervised loss; the training one is the mean over its steps.
    train_score, validation_score : of the task; in a history of survival ``train_c_index`` and
        ``validation_c_index``, Harrell's C. In training it is that of the outputs the steps saw,
        before their updates.
    adversarial_loss, discriminator_loss : weighted part of the generator, and the discriminator's.
    real_accuracy, fake_accuracy : share of observed and of generated pairs the discriminator knew.
    skipped_steps : steps without a usable event.
    chosen : 1 in the row whose parameters were kept.
    """

    epoch: int
    learning_rate: float
    train_loss: float = math.nan
    validation_loss: float = math.nan
    train_score: float = math.nan
    validation_score: float = math.nan
    adversarial_loss: float = math.nan
    discriminator_loss: float = math.nan
    real_accuracy: float = math.nan
    fake_accuracy: float = math.nan
    skipped_steps: int = 0
    chosen: int = 0

    def named(self, score: str) -> dict[str, float]:
        """Return the numbers by name, with that of the task's score: ``validation_c_index``."""
        return {name.replace("_score", f"_{score}"): v for name, v in asdict(self).items()}


def write_history(path: str | Path, epochs: list[Epoch], score: str) -> None:
    """Write the epochs as CSV; `score` names the task's."""
    columns = list(Epoch(0, 0.0).named(score))
    with atomic(path) as partial:
        pd.DataFrame([epoch.named(score) for epoch in epochs], columns=columns).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )


def mean_or_nan(values: list[float]) -> float:
    """Return the mean of the defined values; NaN where there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
