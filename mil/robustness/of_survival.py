"""How well survival is predicted for damaged patients: C at one strength."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mil.fold_predictions import FoldPredictions, read_predictions
from mil.paired import paired_difference, shared_patients
from mil.survival.metrics.bootstrap import bootstrap_concordance, percentile_interval
from mil.survival.metrics.concordance import harrell_c

Repeats = Sequence[Sequence[FoldPredictions]]


@dataclass(frozen=True)
class CurvePoint:
    """A row of a curve's CSV: one experiment at one strength; NaN where undefined.

    ``c_index`` is the mean over folds of Harrell's C, averaged over ``repeats``; ``low`` and
    ``high`` are its 95 % bootstrap interval of patients inside folds. ``sd_over_repeats`` is a
    spread. ``difference`` is this experiment minus the first, on the patients that both have
    (``shared``) and the same draws.
    """

    experiment: str
    strength: float
    level: str
    repeats: int
    c_index: float
    low: float
    high: float
    sd_over_repeats: float
    n: int
    events: int
    unit: str
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    shared: int = 0
    reason: str = ""

    @property
    def value(self) -> float:
        """What the figure shows."""
        return self.c_index

    @property
    def counted(self) -> str:
        """On whom, in a few words."""
        return f"n = {self.n}, {self.events} events"


@dataclass(frozen=True)
class OfSurvival:
    """Harrell's C with `bootstrap` draws from `seed`; see ``mil.robustness.curves``."""

    bootstrap: int
    seed: int
    id: ClassVar[str] = "patient_id"
    label: ClassVar[str] = "Harrell's C on test patients"
    chance: ClassVar[float] = 0.5

    def read(self, predictions: Sequence[str | Path]) -> list[FoldPredictions]:
        """Return the folds of an experiment, undamaged."""
        return read_predictions(predictions)

    def tested(self, fold: FoldPredictions) -> list[str]:
        """Return the ids of those a fold tests."""
        return fold.patients

    def damaged(self, fold: FoldPredictions, table: pd.DataFrame) -> FoldPredictions:
        """Return the fold with what is predicted of its damaged patients."""
        return replace(fold, test=table.reset_index(drop=True))

    def point(
        self, name: str, strength: float, level: str, repeats: Repeats, unit: str
    ) -> CurvePoint:
        """Return how the patients of all repeats are ordered, with its interval."""
        folds = repeats[0]
        patients = [fold.patients for fold in folds]
        values = np.array(
            [np.mean([harrell_c(*fold.triple).value for fold in repeat]) for repeat in repeats]
        )
        draws = np.mean(
            [
                bootstrap_concordance(
                    [f.triple for f in repeat], self.bootstrap, self.seed, patients
                ).mean
                for repeat in repeats
            ],
            axis=0,
        )
        tested = pd.concat([fold.test for fold in folds]).drop_duplicates("patient_id")
        value, interval = float(values.mean()), percentile_interval(draws)
        reason = interval.reason
        if np.isnan(value):
            reason = "a fold has no comparable pair, or risks that are no numbers"
        return CurvePoint(
            name, strength, level, len(repeats), value,
            *((np.nan, np.nan) if np.isnan(value) else (interval.low, interval.high)),
            sd_over_repeats=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
            n=len(tested), events=int(tested["event"].sum()), unit=unit, reason=reason,
        )  # fmt: skip

    def against(self, point: CurvePoint, own: Repeats, first: Repeats) -> CurvePoint:
        """Return the point with its paired difference, averaged over repeats."""
        both = [
            [shared_patients(*pair) for pair in zip(*folds, strict=True)]
            for folds in zip(own, first, strict=True)
        ]
        found = [paired_difference(folds, self.bootstrap, self.seed) for folds in both]
        difference = float(np.mean([value for value, _ in found]))
        shared = len(set().union(*(table["patient_id"] for table in both[0])))
        point = replace(point, difference=difference, shared=shared)
        if np.isnan(difference):
            return point
        interval = percentile_interval(np.mean([draws for _, draws in found], axis=0))
        return replace(point, difference_low=interval.low, difference_high=interval.high)
