"""Who watches a training: event files for TensorBoard, a run of Weights & Biases."""

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mil.tasks import task_of
from mil.training.history import Epoch
from mil.training.settings import Running, TrainingError

log = logging.getLogger(__name__)
NOT_SHOWN = ("epoch", "chosen")  # the one is the axis; the other is known at the end


class Watchers:
    """Tell those who watch what an epoch left behind, under the names of ``history.csv``.

    Nothing of a training depends on it. A context: its end closes what is open.

    Parameters
    ----------
    running : says who watches.
    experiment : settings of the experiment, shown by Weights & Biases.
    fold_index : of the training.
    seal : names the training: one that goes on after a kill stays one run.
    done : epochs that are behind it; what a killed job told of later ones is taken back.

    Raises
    ------
    TrainingError : Weights & Biases are asked for and not installed, or cannot begin.
    """

    def __init__(
        self,
        running: Running,
        experiment: Mapping[str, Any],
        fold_index: int,
        seal: str,
        done: int,
    ) -> None:
        self.events = self.run = None
        self.score = task_of(experiment.get("task")).score
        name = f"fold{fold_index}"
        if (running.wandb or {}).get("project"):
            self.run = _wandb_run(running.wandb, experiment, name, seal)
        if running.tensorboard:
            folder = Path(running.tensorboard) / experiment["name"] / name
            self.events = _event_files(folder, done)

    def __enter__(self) -> "Watchers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.events is not None:
            self.events.close()
        if self.run is not None:
            self.run.finish(exit_code=0 if error is None else 1)

    def tell(self, epoch: Epoch) -> None:
        """Pass on the defined numbers of an epoch."""
        numbers = {
            name: value
            for name, value in epoch.named(self.score).items()
            if name not in NOT_SHOWN and not math.isnan(value)
        }
        if self.events is not None:
            for name, value in numbers.items():
                self.events.add_scalar(name, value, epoch.epoch)
            self.events.flush()
        if self.run is not None:
            self.run.log(numbers, step=epoch.epoch)


def _event_files(folder: Path, done: int):
    """Return a writer into the folder, empty but for the epochs that are done."""
    from tensorboardX import SummaryWriter

    if not done:
        shutil.rmtree(folder, ignore_errors=True)
    # The writer names its file by the second: without more, one begun in the second of a kill
    # would overwrite what the killed one told.
    return SummaryWriter(str(folder), purge_step=done + 1, filename_suffix=f".epoch{done:06d}")


def _wandb_run(asked: Mapping[str, Any], experiment: Mapping[str, Any], name: str, seal: str):
    """Begin, or go on with, a run in the project."""
    try:
        import wandb
    except ModuleNotFoundError:
        raise TrainingError(
            [
                f"training.wandb names the project {asked['project']!r}, but the package wandb is "
                "not installed where training runs. Install it (pip install wandb), or take "
                "training.wandb away."
            ]
        ) from None
    try:
        return wandb.init(
            project=asked["project"],
            mode=asked.get("mode", "offline"),
            dir=asked.get("folder"),
            group=experiment["name"],
            name=f"{experiment['name']}, {name}",
            id=seal[:16],
            resume="allow",
            config=dict(experiment),
        )
    except wandb.errors.Error as error:
        raise TrainingError(
            [
                f"Weights & Biases cannot begin a run in project {asked['project']!r}: {error} Log "
                "in (wandb login), set training.wandb: {mode: offline}, or take it away."
            ]
        ) from error
