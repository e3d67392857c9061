"""Which metrics a task has, and their rows over all folds."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mil.fold_metrics import POOLED, with_interval
from mil.labelled import class_metrics as of_classes
from mil.labelled import number_metrics as of_numbers
from mil.labelled.predictions import LabelFold, each_once, row_counts
from mil.labelled.rows import LabelRow, fold_rows
from mil.labelled.thresholds import decide, thresholds_of
from mil.tasks.labelled import LabelTask

ONE_CLASS = "a class has nobody in the test part"
Floats = NDArray[np.float64]

NUMBERS = {
    "r2": of_numbers.r_squared,
    "mae": of_numbers.mean_absolute_error,
    "rmse": of_numbers.root_mean_squared_error,
    "pearson": of_numbers.correlation,
}
PROBABILITIES = {
    "auroc": of_classes.auroc,
    "average_precision": of_classes.average_precision,
    "brier": of_classes.brier,
}
DECISIONS = {
    "balanced_accuracy": of_classes.balanced_accuracy,
    "f1": of_classes.f1,
    "accuracy": of_classes.accuracy,
}


def metric_rows(
    folds: Sequence[LabelFold], task: LabelTask, bootstrap: int, seed: int
) -> list[LabelRow]:
    """Return the rows of all metrics of a task, its score first.

    Metrics are of a test part as a whole, never of batches, and of probabilities, never of logits.
    """
    measures = _measures(folds, task)
    first = {task.score: measures.pop(task.score)}
    parts = [fold.test for fold in folds]
    counts = list(row_counts(parts, bootstrap, seed))
    once = sum(len(fold.test) for fold in each_once(folds))
    sizes = [len(part) for part in parts]
    undefined = ONE_CLASS if task.classes else "all have one value"
    rows = [
        row
        for metric, measure in (first | measures).items()
        for row in fold_rows(metric, measure, sizes, once, counts, undefined)
    ]
    if task.classes:
        rows += [*_calibration(folds, counts), *_thresholds(folds, task)]
    return rows


def score_measure(folds: Sequence[LabelFold], task: LabelTask) -> Callable[[int, Floats], Floats]:
    """Return the task's score: (place of the fold, counts [draws, n]) -> [draws]."""
    return _measures(folds, task)[task.score]


def _measures(
    folds: Sequence[LabelFold], task: LabelTask
) -> dict[str, Callable[[int, Floats], Floats]]:
    tests = [fold.test for fold in folds]
    if not task.classes:
        return {
            name: lambda k, counts, metric=metric: metric(tests[k].truth, tests[k].told, counts)
            for name, metric in NUMBERS.items()
        }
    found = {
        name: lambda k, counts, metric=metric: metric(tests[k].truth, tests[k].told, counts)
        for name, metric in PROBABILITIES.items()
    }
    decided = [decide(fold.validation, fold.test) for fold in folds]

    def over_labels(metric: Callable, k: int, counts: Floats) -> Floats:
        truth, classes = tests[k].truth, tests[k].told.shape[1]
        if truth.ndim == 1:
            return metric(truth, decided[k], counts, classes)
        known = ~np.isnan(truth)
        columns = range(truth.shape[1])
        each = [
            metric(truth[own, c], decided[k][own, c], counts[:, own], 2)
            for c in columns
            for own in [known[:, c]]
        ]
        return np.mean(each, axis=0)

    decisions = dict(DECISIONS)
    if task.score == "kappa":
        decisions["kappa"] = of_classes.kappa
    for name, metric in decisions.items():
        found[name] = lambda k, counts, metric=metric: over_labels(metric, k, counts)
    if len(task.names) == 2 and len(task.columns) == 1:
        for name, row in (("sensitivity", 1), ("specificity", 0)):
            found[name] = lambda k, counts, row=row: _recall(
                tests[k].truth, decided[k], counts, row
            )
    else:
        for place, name in enumerate(task.names):
            found[f"auroc_{name}"] = lambda k, counts, place=place: of_classes.auroc_of(
                place, tests[k].truth, tests[k].told, counts
            )
    return found


def _recall(truth: Floats, predicted: NDArray, counts: Floats, row: int) -> Floats:
    table = of_classes.confusion(truth, predicted, counts, 2)
    return of_classes.ratio(table[:, row, row], table[:, row].sum(1))


def _calibration(folds: Sequence[LabelFold], counts: Sequence[Floats]) -> list[LabelRow]:
    """Return the calibration error over all test parts at once: probabilities share a scale.

    A fold alone has too few patients for ten bins.
    """
    once = each_once(folds)
    truth = np.concatenate([fold.test.truth for fold in once])
    told = np.concatenate([fold.test.told for fold in once])
    value = of_classes.calibration_error(truth, told, np.ones((1, len(truth))))
    draws = of_classes.calibration_error(truth, told, np.hstack(counts[: len(once)]))
    return [with_interval(LabelRow("ece", POOLED, float(value[0]), n=len(truth)), draws)]


def _thresholds(folds: Sequence[LabelFold], task: LabelTask) -> list[LabelRow]:
    """Return the thresholds that the validation parts chose; none of more than two classes."""
    several = len(task.columns) > 1
    if not several and len(task.names) > 2:
        return []
    names = [f"threshold_{name}" for name in (task.names if several else task.names[1:])]
    return [
        LabelRow(name, fold.fold, float(value), n=len(fold.validation))
        for fold in folds
        for name, value in zip(names, thresholds_of(fold.validation, len(task.names)), strict=True)
    ]
