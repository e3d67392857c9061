"""How well labels are predicted for damaged patients or slides: a task's score at one strength."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.labelled.predictions import LabelFold, each_once, read_label_predictions
from mil.labelled.scores import AXES, CHANCE, fold_scores, shared_tests
from mil.survival.metrics.bootstrap import percentile_interval
from mil.tasks.labelled import LabelTask

Repeats = Sequence[Sequence[LabelFold]]


@dataclass(frozen=True)
class LabelCurvePoint:
    """A row of a curve's CSV: one experiment at one strength; NaN where undefined.

    ``value`` is the mean over folds of ``metric``, the task's score, averaged over ``repeats``;
    ``low`` and ``high`` are its 95 % bootstrap interval of patients inside folds.
    ``sd_over_repeats`` is a spread. ``difference`` is this experiment minus the first, on those
    that both have (``shared``) and the same draws.
    """

    experiment: str
    strength: float
    level: str
    repeats: int
    metric: str
    value: float
    low: float
    high: float
    sd_over_repeats: float
    n: int
    unit: str
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    shared: int = 0
    reason: str = ""

    @property
    def counted(self) -> str:
        """On whom, in a few words."""
        return f"n = {self.n}"


@dataclass(frozen=True)
class OfLabels:
    """The score of a task with `bootstrap` draws from `seed`; see ``mil.robustness.curves``.

    Decisions on damaged patients are by the thresholds of the undamaged validation part.
    """

    task: LabelTask
    bootstrap: int
    seed: int

    @property
    def id(self) -> str:
        """Column of those that are tested."""
        return f"{self.task.unit}_id"

    @property
    def label(self) -> str:
        """Of the axis."""
        return AXES[self.task.score]

    @property
    def chance(self) -> float:
        """Where a model that knows nothing is."""
        return CHANCE[self.task.score]

    def read(self, predictions: Sequence[str | Path]) -> list[LabelFold]:
        """Return the folds of an experiment, undamaged."""
        return read_label_predictions(predictions, self.task)

    def tested(self, fold: LabelFold) -> list[str]:
        """Return the ids of those a fold tests."""
        return list(fold.test.ids)

    def damaged(self, fold: LabelFold, table: pd.DataFrame) -> LabelFold:
        """Return the fold with what is predicted of its damaged patients or slides."""
        columns = list(self.task.told_columns)
        told = table.set_index(self.id).loc[list(fold.test.ids), columns].to_numpy(np.float64)
        test = replace(fold.test, told=told if self.task.classes else told[:, 0])
        return replace(fold, test=test)

    def point(
        self, name: str, strength: float, level: str, repeats: Repeats, unit: str
    ) -> LabelCurvePoint:
        """Return the score over all repeats, with its interval."""
        scores = [fold_scores(folds, self.task, self.bootstrap, self.seed) for folds in repeats]
        values = np.array([own.mean() for own, _ in scores])
        value = float(values.mean())
        interval = percentile_interval(np.mean([draws for _, draws in scores], axis=0))
        undefined = "" if np.isfinite(value) else "a fold lacks a class, or a second value"
        return LabelCurvePoint(
            name, strength, level, len(repeats), self.task.score, value,
            *((np.nan, np.nan) if undefined else (interval.low, interval.high)),
            sd_over_repeats=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
            n=sum(len(fold.test) for fold in each_once(repeats[0])), unit=unit,
            reason=undefined or interval.reason,
        )  # fmt: skip

    def against(self, point: LabelCurvePoint, own: Repeats, first: Repeats) -> LabelCurvePoint:
        """Return the point with its paired difference, averaged over repeats."""
        aligned = shared_tests([*own, *first])
        scores = [fold_scores(folds, self.task, self.bootstrap, self.seed) for folds in aligned]
        mine, others = scores[: len(own)], scores[len(own) :]
        both = zip(mine, others, strict=True)
        found = [(a.mean() - b.mean(), drawn - other) for (a, drawn), (b, other) in both]
        difference = float(np.mean([value for value, _ in found]))
        shared = sum(len(fold.test) for fold in each_once(aligned[0]))
        point = replace(point, difference=difference, shared=shared)
        if np.isnan(difference):
            return point
        interval = percentile_interval(np.mean([draws for _, draws in found], axis=0))
        return replace(point, difference_low=interval.low, difference_high=interval.high)
