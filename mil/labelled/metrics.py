"""Which metrics a task has, and their rows over all folds."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mil.fold_metrics import POOLED, with_interval
from mil.labelled import class_metrics as of_classes
from mil.labelled import number_metrics as of_numbers
from mil.labelled.predictions import LabelFold, Part, each_once, row_counts
from mil.labelled.rows import LabelRow, fold_rows
from mil.survival.metrics.bootstrap import ratio
from mil.tasks.labelled import LabelTask

Floats = NDArray[np.float64]
Measure = Callable[[int, Floats], Floats]  # (place of the fold, counts [draws, n]) -> [draws]

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
    folds: Sequence[LabelFold],
    task: LabelTask,
    bootstrap: int,
    seed: int,
    judged: str = "in the test part",
) -> list[LabelRow]:
    """Return the rows of all metrics of a task, its score first.

    Metrics are of a test part as a whole, never of batches, and of probabilities, never of logits.
    `judged` says in a reason where those are that are judged.
    """
    measures = _measures(folds, task)
    first = {task.score: measures.pop(task.score)}
    parts = [fold.test for fold in folds]
    counts = list(row_counts(parts, bootstrap, seed))
    once = sum(len(fold.test) for fold in each_once(folds))
    sizes = [len(part) for part in parts]
    undefined = f"a class has nobody {judged}" if task.classes else "all have one value"
    rows = [
        row
        for metric, measure in (first | measures).items()
        for row in fold_rows(metric, measure, sizes, once, counts, undefined)
    ]
    if task.classes:
        rows += [*_calibration(folds, counts), *_thresholds(folds, task)]
    return rows


def _measures(folds: Sequence[LabelFold], task: LabelTask) -> dict[str, Measure]:
    """Return the metrics of a task by name."""
    tests = [fold.test for fold in folds]

    def of_told(metric: Callable[..., Floats]) -> Measure:
        return lambda k, counts: metric(tests[k].truth, tests[k].told, counts)

    if not task.classes:
        return {name: of_told(metric) for name, metric in NUMBERS.items()}
    decided = [fold.decided for fold in folds]

    def of_decisions(metric: Callable[..., Floats]) -> Measure:
        return lambda k, counts: _of_decisions(metric, tests[k], decided[k], counts)

    found = {name: of_told(metric) for name, metric in PROBABILITIES.items()}
    found |= {name: of_decisions(metric) for name, metric in DECISIONS.items()}
    if task.score == "kappa":
        found["kappa"] = of_decisions(of_classes.kappa)
    else:
        found["cohen_kappa"] = of_decisions(partial(of_classes.kappa, quadratic=False))
    if len(task.names) == 2 and len(task.columns) == 1:
        found["sensitivity"] = of_decisions(partial(_recall, of=1))
        found["specificity"] = of_decisions(partial(_recall, of=0))
    else:
        for place, name in enumerate(task.names):
            found[f"auroc_{name}"] = of_told(partial(of_classes.auroc_of, place))
    return found


def _of_decisions(
    metric: Callable[..., Floats], test: Part, decided: NDArray[np.int64], counts: Floats
) -> Floats:
    """Return a metric of predicted classes; of several labels its mean over labels."""
    if test.truth.ndim == 1:
        return metric(test.truth, decided, counts, test.told.shape[1])
    each = []
    for truth, own in zip(test.truth.T, decided.T, strict=True):
        known = ~np.isnan(truth)
        each.append(metric(truth[known], own[known], counts[:, known], 2))
    return np.mean(each, axis=0)


def _recall(
    truth: Floats, predicted: NDArray[np.int64], counts: Floats, classes: int, of: int
) -> Floats:
    """Return the share of a class that was found: of the second the sensitivity."""
    table = of_classes.confusion(truth, predicted, counts, classes)
    return ratio(table[:, of, of], table[:, of].sum(1))


def score_measure(folds: Sequence[LabelFold], task: LabelTask) -> Measure:
    """Return the score of a task."""
    return _measures(folds, task)[task.score]


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
        LabelRow(name, fold.fold, float(value), n=fold.chosen_on)
        for fold in folds
        for name, value in zip(names, fold.thresholds, strict=True)
    ]
