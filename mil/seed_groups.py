"""Experiments that differ by their seeds alone: their mean, its spreads and its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mil.compared_experiment import ComparedExperiment
from mil.fold_predictions import FoldPredictions, PredictionError, first_repeat
from mil.survival.metrics.bootstrap import bootstrap_concordance, percentile_interval
from mil.survival.metrics.concordance import harrell_c

Folds = list[FoldPredictions]


@dataclass(frozen=True)
class SeedGroup:
    """A group; an experiment without seeds is one of a single member.

    Parameters
    ----------
    name : of the group.
    rows : of its members.
    folds : predictions of each member, fold by fold.
    points : C of every member and fold, [seeds, folds].
    """

    name: str
    rows: list[ComparedExperiment]
    folds: list[Folds]
    points: np.ndarray

    def summary(self, bootstrap: int, seed: int) -> ComparedExperiment:
        """Return the row of the group: its only member's, or that of the mean over seeds.

        Every seed sees the same bootstrap draws of patients: a draw of the group is the mean.
        """
        first = self.rows[0]
        if len(self.rows) == 1:
            return first
        sizes = {(row.n, row.events) for row in self.rows}
        if len(sizes) > 1:
            raise PredictionError([f"Experiments of {self.name} were judged on other patients."])
        sides = [[fold.triple for fold in folds] for folds in self.folds]
        patients = [fold.patients for fold in self.folds[0]]
        interval = percentile_interval(_mean_draws(sides, patients, bootstrap, seed))
        over_folds = self.points.mean(axis=0)  # [folds]
        means = self.points.mean(axis=1)  # [seeds]
        reasons = dict.fromkeys(
            f"{row.experiment}: {row.reason}" for row in self.rows if row.reason
        )
        return ComparedExperiment(
            self.name,
            self.name,
            len(self.rows),
            c_index=float(means.mean()),
            low=interval.low,
            high=interval.high,
            sd_over_folds=_sd(over_folds),
            sd_over_repeats=sd_over_repeats(self.folds[0], over_folds),
            sd_over_seeds=_sd(means),
            pair_weighted_c=float(np.mean([row.pair_weighted_c for row in self.rows])),
            uno_c=float(np.mean([row.uno_c for row in self.rows])),
            ibs_scaled=float(np.mean([row.ibs_scaled for row in self.rows])),
            d_calibration_p=np.nan,  # a mean of p is none
            n=first.n,
            events=first.events,
            folds=first.folds,
            reason="; ".join(reasons),
        )


@dataclass(frozen=True)
class PairedDifference:
    """Mean C of a group minus that of another on the patients that all of both have.

    ``other_labels``: the two have not the same outcomes, so there is no difference.
    """

    value: float
    low: float
    high: float
    shared: int
    other_labels: bool = False


def paired_difference(
    own: SeedGroup, best: SeedGroup, bootstrap: int, seed: int
) -> PairedDifference:
    """Return the difference on the same patients and the same bootstrap draws."""
    aligned = [
        _shared(list(tables)) for tables in zip(*own.folds, *best.folds, strict=True)
    ]  # of each fold: a table of each member
    shared = len(set().union(*(tables[0]["patient_id"] for tables in aligned)))
    if any(
        (table[label] != tables[0][label]).any()
        for tables in aligned
        for table in tables
        for label in ("time", "event")
    ):
        # Labels permuted in another way: the same patients, but not the same outcomes.
        return PairedDifference(np.nan, np.nan, np.nan, shared, other_labels=True)
    patients = [tables[0]["patient_id"].tolist() for tables in aligned]
    members = [
        [
            tuple(tables[m][key].to_numpy() for key in ("time", "event", "risk"))
            for tables in aligned
        ]
        for m in range(len(own.folds) + len(best.folds))
    ]
    sides = [members[: len(own.folds)], members[len(own.folds) :]]
    means = [np.mean([[harrell_c(*f).value for f in member] for member in side]) for side in sides]
    value = float(means[0] - means[1])
    if np.isnan(value):
        return PairedDifference(value, np.nan, np.nan, shared)
    draws = [_mean_draws(side, patients, bootstrap, seed) for side in sides]
    interval = percentile_interval(draws[0] - draws[1])
    return PairedDifference(value, interval.low, interval.high, shared)


def sd_over_repeats(folds: Folds, points: np.ndarray) -> float:
    """Return the spread of the means of repeats, whose folds follow each other; NaN of one.

    Parameters
    ----------
    folds : all folds.
    points : C of every fold, [folds].
    """
    of_one = len(first_repeat(folds))
    if not of_one or len(folds) % of_one:
        return np.nan
    return _sd(points.reshape(-1, of_one).mean(axis=1))


def _mean_draws(
    members: Sequence[Sequence[tuple]], patients: list[list[str]], bootstrap: int, seed: int
) -> np.ndarray:
    """Return C of each draw, mean over folds and members, [draws]."""
    return np.mean(
        [bootstrap_concordance(folds, bootstrap, seed, patients).mean for folds in members], axis=0
    )


def _shared(folds: list[FoldPredictions]) -> list[pd.DataFrame]:
    """Return test tables of the patients that all have, in a fixed order."""
    tables = [fold.test.set_index("patient_id") for fold in folds]
    both = sorted(set.intersection(*(set(table.index) for table in tables)))
    return [table.loc[both].reset_index() for table in tables]


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan
