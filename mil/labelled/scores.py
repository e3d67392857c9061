"""The score of a task on every fold, in every bootstrap draw, and on those that all have."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mil.labelled.metrics import score_measure
from mil.labelled.predictions import LabelFold, row_counts
from mil.tasks.labelled import LabelTask

CHANCE = {"auroc": 0.5, "kappa": 0.0, "r2": 0.0}
AXES = {
    "auroc": "AUROC on test parts (0.5: a coin)",
    "kappa": "quadratic kappa on test parts (0: chance)",
    "r2": "R² on test parts (0: the mean for everybody)",
}


def fold_scores(
    folds: Sequence[LabelFold], task: LabelTask, bootstrap: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the score of each fold, and its mean over folds in each bootstrap draw."""
    measure = score_measure(folds, task)
    own = [float(measure(k, np.ones((1, len(f.test))))[0]) for k, f in enumerate(folds)]
    counts = row_counts([fold.test for fold in folds], bootstrap, seed)
    drawn = [measure(k, drawn) for k, drawn in enumerate(counts)]
    return np.array(own), np.mean(drawn, axis=0)


def shared_tests(experiments: Sequence[Sequence[LabelFold]]) -> list[list[LabelFold]]:
    """Return the folds of each with the test rows that all have, in one order."""
    aligned: list[list[LabelFold]] = [[] for _ in experiments]
    for folds in zip(*experiments, strict=True):
        both = sorted(set.intersection(*(set(fold.test.ids) for fold in folds)))
        for mine, fold in zip(aligned, folds, strict=True):
            place = {name: k for k, name in enumerate(fold.test.ids)}
            mine.append(replace(fold, test=fold.test.at([place[name] for name in both])))
    return aligned
