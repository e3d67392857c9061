"""The learning rate of the epochs to come."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
)

from mil.rate_schedules import schedule_problems
from mil.training.settings import TrainingError, TrainingSettings


def rate_schedule(optimiser: Optimizer, settings: TrainingSettings, higher: bool) -> LRScheduler:
    """Return the schedule of an optimiser's learning rate, to be advanced after every epoch.

    Parameters
    ----------
    higher : whether a higher validation value is better.

    Raises
    ------
    TrainingError : settings that make no schedule.
    """
    rate = optimiser.param_groups[0]["lr"]
    if problems := schedule_problems({**vars(settings), "learning_rate": rate}):
        raise TrainingError(problems)
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(
            optimiser,
            mode="max" if higher else "min",
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
        )
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimiser, settings.epochs, settings.cosine_floor)
    # without an epoch to fall after it is constant
    return MultiStepLR(optimiser, settings.step_epochs, settings.step_factor)


def advance(schedule: LRScheduler, value: float) -> None:
    """Set the rate of the next epoch, after one with the validation value ``value``.

    An undefined value says nothing of a plateau.
    """
    if not isinstance(schedule, ReduceLROnPlateau):
        schedule.step()
    elif not math.isnan(value):
        schedule.step(value)
