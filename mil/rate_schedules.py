"""How the learning rate changes over the epochs of a training: what can be asked for."""

from collections.abc import Mapping
from typing import Any

SCHEDULES = ("plateau", "cosine", "steps", "constant")


def schedule_problems(training: Mapping[str, Any]) -> list[str]:
    """Return sentences on settings of a training that make no schedule.

    Parameters
    ----------
    training : with ``schedule``, ``step_epochs``, ``cosine_floor`` and ``learning_rate``, None
        where that is not known yet.
    """
    schedule, epochs = training["schedule"], training["step_epochs"]
    floor, rate = training["cosine_floor"], training["learning_rate"]
    if schedule == "steps" and not epochs:
        return [
            "training.schedule is steps, but training.step_epochs is empty; say after which epochs "
            "the rate falls, as [20, 100], or set schedule: constant."
        ]
    if schedule != "steps" and epochs:
        return [
            f"training.step_epochs is {list(epochs)}, but training.schedule is {schedule}, which "
            "does not read it; set schedule: steps, or step_epochs: []."
        ]
    if schedule == "cosine" and rate is not None and floor >= rate:
        return [
            f"training.cosine_floor is {floor:g}, but the learning rate starts at {rate:g}; the "
            "floor must be below that."
        ]
    return []
