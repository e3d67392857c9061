"""What is predicted: survival, classes, grades or a number.

A task knows its label columns and how they become numbers, how its folds are balanced, and how well
a prediction orders patients. Heads say how it is learnt. Nothing here needs PyTorch.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

HEADS = {  # of each task, by name
    "survival": ("adversarial", "cox", "nll", "time"),
    "classification": ("classes",),
    "ordinal": ("ordinal", "classes"),
    "regression": ("regression",),
}
SCORES = {  # beside the loss, what ``training.monitor`` may be: higher is better
    "survival": "c_index",
    "classification": "auroc",
    "ordinal": "kappa",
    "regression": "r2",
}
FIGURES = {  # of an experiment, for the report; those of survival are of its own rules
    "classification": ("confusion", "thresholds", "reliability"),
    "ordinal": ("confusion", "thresholds", "reliability"),
    "regression": ("numbers",),
}
SCORES_IN_WORDS = {"c_index": "C", "auroc": "AUROC", "kappa": "kappa", "r2": "R²"}


def task_of(settings: Mapping[str, Any] | None):
    """Return the task of an experiment or a configuration.

    Parameters
    ----------
    settings : ``name`` and ``columns, classes, unit`` of the label; None for survival.

    Returns
    -------
    mil.tasks.base.Task
    """
    if settings is None:
        return import_module("mil.tasks.survival").Survival()
    module = import_module(f"mil.tasks.{settings['name']}")
    return module.TASK(**{key: settings[key] for key in ("columns", "classes", "unit")})
