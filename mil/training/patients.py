"""Which training patients are used, and which of them with their labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mil.seeds import seed_for
from mil.semi_supervised import SemiSupervised, why_not_semi_supervised
from mil.tasks import task_of
from mil.tasks.base import Task
from mil.training.settings import TrainingError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPatients:
    """Patients of a training part; all that is fitted is fitted on the labelled ones.

    Attributes
    ----------
    labelled : rows with patient_id and the label columns of the task.
    unlabelled : rows without labels: of survival their time is NaN and their event 0 from here on,
        so that nothing behind can see them.
    turns : the rows of ``unlabelled`` that are trained on, by epoch, over and over.
    semi_supervised : settings, or None where everybody is labelled.
    """

    labelled: pd.DataFrame
    unlabelled: pd.DataFrame
    turns: Sequence[np.ndarray]
    semi_supervised: SemiSupervised | None

    def of_epoch(self, number: int) -> pd.DataFrame:
        """Return the patients of an epoch, counted from 1."""
        if not self.turns:
            return self.labelled
        part = self.unlabelled.iloc[self.turns[(number - 1) % len(self.turns)]]
        together = [part] if self.semi_supervised.mode == "UD" else [self.labelled, part]
        return pd.concat(together, ignore_index=True)

    @property
    def used(self) -> list[str]:
        """Ids of all patients that are read: fitted on or trained on."""
        taught = self.unlabelled["patient_id"] if self.turns else []
        return [*self.labelled["patient_id"], *taught]

    def warmup(self, asked: int) -> int:
        """Return the epochs that cannot be chosen: no fewer than show every unlabelled patient."""
        return max(asked, len(self.turns)) if len(self.turns) > 1 else asked

    def describe(self, asked: int) -> None:
        """Write into the log how many patients are unlabelled, and what that does."""
        semi = self.semi_supervised
        if semi is None:
            return
        log.info(
            "%s: %d labelled training patients, %d unlabelled%s; the validation part keeps its "
            "labels",
            *(semi.mode, len(self.labelled), len(self.unlabelled)),
            f", in {len(self.turns)} parts" if len(self.turns) > 1 else "",
        )
        if self.warmup(asked) > asked:
            log.info(
                "the warm-up is %d epochs, not %d: no epoch is kept before every unlabelled "
                "patient has been seen.",
                *(self.warmup(asked), asked),
            )
        if semi.mode == "UD":
            log.warning(
                "UD: no labels at all are trained on, so the discriminator sees generated times "
                "only; the labelled patients give the scale of times and the validation part the "
                "epoch."
            )

    @property
    def uses(self) -> dict[str, str]:
        """``labelled`` or ``unlabelled`` by patient; who is not in it was left out by sampling."""
        parts = {"labelled": self.labelled, "unlabelled": self.unlabelled}
        return {name: use for use, part in parts.items() for name in part["patient_id"]}


def choose_patients(
    train: pd.DataFrame, experiment: Mapping[str, Any], seed: int, fold_index: int
) -> TrainingPatients:
    """Draw the training patients that are kept, and those whose labels may be seen.

    The draws look at ids alone, never at labels. They depend on the configuration's seed and the
    fold: all experiments draw the same patients, and a larger share holds those of a smaller one.

    Parameters
    ----------
    train : the training part: patient_id and labels.
    experiment : with ``training: {sample: ...}`` and ``semi_supervised``, where wanted.
    seed, fold_index : the configuration's seed and the number of the fold.

    Raises
    ------
    TrainingError : too many or too few patients asked for, nobody with an event left (or no second
        class), or a head that unlabelled patients cannot teach.
    """
    task = task_of(experiment.get("task"))
    what = f"experiment {experiment['name']!r}, fold {fold_index}: "
    wanted = (experiment.get("training") or {}).get("sample")
    if wanted is not None:
        count = _count(wanted, len(train), what + "training.sample", most=len(train))
        train = _in_file_order(train, _shuffled(train, seed, "sample", fold_index)[:count])
    semi = SemiSupervised.of(experiment)
    if semi is None:
        chosen = TrainingPatients(train, task.hidden(train.iloc[:0]), (), None)
    else:
        chosen = _hide_labels(train, task, semi, what, seed, fold_index)
    obstacle = why_not_semi_supervised(experiment)
    if obstacle:
        raise TrainingError([f"{what}semi_supervised.mode is {semi.mode}, but {obstacle}"])
    if lacking := task.unlearnable(chosen.labelled):
        raise TrainingError(
            [
                f"{what}none of the {len(chosen.labelled)} labelled training patients has "
                f"{lacking}; nothing can be learned. Raise training.sample or "
                "semi_supervised.labelled."
            ]
        )
    return chosen


def _hide_labels(
    train: pd.DataFrame, task: Task, semi: SemiSupervised, what: str, seed: int, fold_index: int
) -> TrainingPatients:
    count = _count(
        semi.labelled, len(train), what + "semi_supervised.labelled", most=len(train) - 1
    )
    order = _shuffled(train, seed, "labelled", fold_index)
    labelled = _in_file_order(train, order[:count])
    unlabelled = task.hidden(_in_file_order(train, order[count:]))
    turns: list[np.ndarray] = []
    if semi.mode == "UD":
        turns = [np.arange(len(unlabelled))]
    elif semi.mode == "UD+LD":
        if semi.kfold > len(unlabelled):
            raise TrainingError(
                [
                    f"{what}semi_supervised.kfold is {semi.kfold}, but only {len(unlabelled)} "
                    "patients are unlabelled; each part needs one. Lower it, or labelled."
                ]
            )
        turns = np.array_split(_shuffled(unlabelled, seed, "unlabelled", fold_index), semi.kfold)
    return TrainingPatients(labelled, unlabelled, tuple(turns), semi)


def _count(wanted: float, patients: int, key: str, most: int) -> int:
    """Return how many patients a share (below 1, rounded down) or a count asks for."""
    # 0.29 of 100 patients are 29, though the product of the two is a little less
    count = int(wanted * patients + 1e-9) if wanted < 1 else int(wanted)
    if not 1 <= count <= most:
        raise TrainingError(
            [
                f"{key} is {wanted}, {count} of {patients} training patients; it must be at least "
                f"1 and at most {most} of them."
            ]
        )
    return count


def _shuffled(patients: pd.DataFrame, seed: int, purpose: str, fold_index: int) -> np.ndarray:
    """Return the rows in the order of a number drawn for each patient by name."""
    drawn = [seed_for(seed, purpose, fold_index, name) for name in patients["patient_id"]]
    return np.argsort(np.array(drawn, dtype=np.int64), kind="stable")


def _in_file_order(patients: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    return patients.iloc[np.sort(rows)].reset_index(drop=True)
