"""Judge models on a further cohort: each fold's model, and their ensemble."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.figures import save_figure
from mil.fold_metrics import MetricRow, write_metrics
from mil.fold_parts import SEEN
from mil.fold_predictions import FoldPredictions
from mil.follow_up import read_follow_up
from mil.kaplan_meier_figure import draw_kaplan_meier
from mil.probability_metrics import brier_rows
from mil.problems import listed
from mil.rank_metrics import concordance_rows, uno_rows
from mil.risk_groups import RiskGroups, curve_steps, logrank_rows, write_steps
from mil.stored_curves import read_curves, read_joined_curves
from mil.time_metrics import time_error_rows

ENSEMBLE = "ensemble"
PERMUTATIONS = 1000
FOOTNOTE = (
    "Groups by what most of the folds' models say, each by the median risk of its own training "
    "part."
)

log = logging.getLogger(__name__)


def evaluate_predicted(
    *,
    name: str,
    patients: str | Path,
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    ensemble: str | Path,
    joined_curves: str | Path,
    trained: Sequence[str | Path],
    metrics: str | Path,
    curves: str | Path,
    kaplan_meier: str | Path,
    bootstrap: int,
    seed: int,
    unit: str,
) -> None:
    """Evaluate one experiment on a further cohort.

    Patients whom a model was trained or chosen on are left out of its evaluation, and out of the
    ensemble's if any model was.

    Parameters
    ----------
    name : of the experiment, for titles.
    patients : the cohort's patient table; those without usable follow-up are not evaluated.
    predictions, draws : what ``predict_cohort`` wrote, by fold.
    ensemble, joined_curves : what ``join_models`` wrote: predictions and curves.
    trained : ``predictions.csv`` of ``predict_fold`` for each model. What a measure takes from a
        training part (censoring, a grid of times, surrogates of censored times) comes from these;
        of the ensemble from the training patients of all models. None: only the order is measured.
    metrics : output, CSV as of ``evaluate_experiment``; a row for the model of each fold, one for
        their ``mean``, and one for the ``ensemble``.
    curves : output, CSV of the Kaplan-Meier curves by risk group, of each model and the ensemble.
    kaplan_meier : output, SVG of the ensemble's.
    bootstrap : draws behind each interval; a patient counts alike for all models.
    seed : of the configuration.
    unit : of the times, for the axis.

    Raises
    ------
    mil.problems.InputError : a patient table that cannot be used, in sentences.
    """
    follow_up = read_follow_up(patients, unit)
    trains = [_train(path) for path in trained] or [_train(None) for _ in predictions]
    tables = [_judged(path, follow_up) for path in predictions]
    joined = _judged(ensemble, follow_up)
    folds = [
        _as_fold(fold, train, table[~table["part"].isin(SEEN) & table["time"].notna()], path)
        for fold, (train, table, path) in enumerate(zip(trains, tables, draws, strict=True))
    ]
    train = pd.concat(trains).drop_duplicates("patient_id")
    whole = _as_fold(
        ENSEMBLE,
        train,
        joined[(joined["seen_by"] == 0) & joined["time"].notna()],
        joined_curves,
    )
    without = joined.loc[joined["time"].isna(), "patient_id"]
    if len(without):
        log.warning("not evaluated, for want of follow-up: %s.", listed(without))

    rows: list[MetricRow] = []
    of_training = (uno_rows, time_error_rows, brier_rows) if trained else ()
    for measure in (concordance_rows, *of_training):
        rows += measure(folds, bootstrap, seed)
        rows += [row for row in measure([whole], bootstrap, seed) if row.fold == ENSEMBLE]
    groups = {fold.fold: _risk_groups(fold) for fold in (*folds, whole)}
    tests = logrank_rows(groups[ENSEMBLE], PERMUTATIONS, seed)
    write_metrics(metrics, rows + [replace(row, fold=ENSEMBLE) for row in tests])
    write_steps(curves, [curve_steps(fold, np.nan, its.curves()) for fold, its in groups.items()])
    figure = draw_kaplan_meier(groups[ENSEMBLE], tests[-1].value, name, unit, FOOTNOTE)
    save_figure(figure, kaplan_meier)
    for row in rows:
        if row.fold == ENSEMBLE:
            log.info("%s: %s %.3f [%.3f, %.3f] %s", name, row.metric, row.value, row.low, row.high,
                     row.reason)  # fmt: skip


def _judged(path: str | Path, follow_up: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the follow-up of each patient, NaN where there is none."""
    table = pd.read_csv(path, dtype={"patient_id": str, "part": str, "group": str})
    return table.join(follow_up, on="patient_id")


def _train(path: str | Path | None) -> pd.DataFrame:
    """Return the training part of a model, empty where it is not known."""
    if path is None:
        return pd.DataFrame(columns=["patient_id", "time", "event", "risk"])
    table = pd.read_csv(path, dtype={"patient_id": str, "part": str})
    return table[table["part"] == "train"].reset_index(drop=True)


def _as_fold(
    name: int | str, train: pd.DataFrame, judged: pd.DataFrame, curves: str | Path
) -> FoldPredictions:
    """Return the patients to judge as the test part of a fold."""
    test = judged.astype({"event": int}).reset_index(drop=True)
    read = read_joined_curves if name == ENSEMBLE else read_curves
    return FoldPredictions(name, train, test, read(test, curves))


def _risk_groups(fold: FoldPredictions) -> RiskGroups:
    """Return the patients by the group that thresholds of training parts put them in."""
    table = fold.test[["patient_id", "time", "event", "group"]].assign(fold=fold.fold)
    if fold.finite and table["group"].notna().all():
        return RiskGroups(table, {})
    why = "no risk groups: the models come without predictions of their training part"
    return RiskGroups(table.head(0), {}, why)
