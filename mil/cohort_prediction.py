"""Predict a further cohort, whose labels need not be known, with the model of one fold."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mil.bag_folder import BagFolder
from mil.feature_origin import OriginError, check_origin
from mil.fold_parts import SEEN
from mil.heads.base import OfPatients, Prediction
from mil.labelled.cohort_prediction import read_history, told_labels
from mil.network import Network
from mil.prediction import load_network, predict_patients, set_times, stored_arrays
from mil.problems import listed
from mil.risk_groups import GROUPS
from mil.slide_scores import write_slide_scores
from mil.stored_curves import baseline_arrays, curves_of
from mil.survival.breslow import breslow_baseline
from mil.survival.curves import LEVELS, SurvivalCurves
from mil.tasks import task_of
from mil.training.determinism import deterministic
from mil.training.settings import choose_device
from wsi.storage import atomic, save_npz

log = logging.getLogger(__name__)


def predict_cohort(
    *,
    model: str | Path,
    config: str | Path,
    cohort: str | Path,
    root: str | Path,
    predictions: str | Path,
    draws: str | Path,
    attention: str | Path,
    trained: str | Path | None = None,
    device: str = "auto",
) -> None:
    """Predict every patient of a cohort who has a usable slide, in the order of the cohort table.

    A patient is predicted as ``predict_fold`` would predict it.

    Parameters
    ----------
    model, config : what ``train_model`` wrote, here or elsewhere.
    cohort, root : usable slides, and the folder that their paths are relative to.
    predictions : output, CSV ``patient_id,part,risk,predicted_time,time_flag,low_50,high_50,...,
        group``. ``part`` is the patient's part in the fold of the model, empty for a new patient.
        The intervals of 50, 80, 90 and 95 % have infinite ends where a curve does not come down so
        far, and are empty for heads without a distribution. ``group`` is high where the risk
        exceeds the median risk of the training part, else low. Of other tasks than survival as
        ``mil.labelled.cohort_prediction.told_labels`` has it.
    draws : output, npz as of ``predict_fold``; of tasks with labels also the model's thresholds.
    attention : output, npz: for each slide what ``predict_fold`` writes for one of a test patient.
    trained : ``predictions.csv`` that ``predict_fold`` wrote for the model; without it there are no
        groups, thresholds are 0.5, and nobody is known to have been trained on.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises
    ------
    mil.problems.InputError : features, graphs or clusters that the model cannot read.
    """
    made = yaml.safe_load(Path(config).read_text())
    name = f"{made['experiment']['name']}, fold {made['fold_index']}"
    task = task_of(made["experiment"].get("task"))
    bags, where = BagFolder(cohort, root, task.unit), choose_device(device)
    _check_width(bags, made, name)
    patients = list(bags)

    with deterministic(where, made["seed"]):
        network = load_network(model, made, where)
        check_origin(made.get("features", {}), cohort, network.model.needs, f"model {name}")
        if network.model.reads_regions:
            bags.check_regions(patients, f"model '{network.model.name}'")
        told, seen = [], {}
        for prediction, scores in predict_patients(network, bags, patients, made, where):
            told.append(prediction)
            seen |= scores

    whole = OfPatients.together(told)
    if task.name == "survival":
        history = _read_trained(trained, name)
        arrays = stored_arrays(patients, whole, made) | _baseline(network, history, name)
        table = _told_survival(patients, whole, curves_of(arrays, whole.risk), history)
    else:
        history = read_history(trained, name, task)
        table, arrays = told_labels(task, cohort, patients, whole, history)
    known = table[table["part"].isin(SEEN)]["patient_id"].unique()
    if len(known):
        log.warning(
            "model %s was trained or chosen on patients of this cohort, who are left out of its "
            "evaluation: %s.",
            *(name, listed(known)),
        )
    write_predictions(predictions, table, list(table))
    save_npz(draws, **arrays)
    write_slide_scores(attention, seen)
    log.info("%s: %d %ss", name, len(table), task.unit)


def _told_survival(
    patients: list[str],
    whole: Prediction,
    curves: SurvivalCurves | None,
    history: pd.DataFrame,
) -> pd.DataFrame:
    """Return the table of survival: risks, times, intervals and risk groups."""
    part = history.set_index("patient_id")["part"]
    table = pd.DataFrame({"patient_id": patients})
    table["part"] = table["patient_id"].map(part).fillna("")
    table["risk"] = whole.risk
    set_times(table, whole.time, curves)
    add_intervals(table, curves)
    table["group"] = _groups(table["risk"], _fitted_on(history)["risk"].median())
    return table


def interval_columns() -> list[str]:
    """Return the names of the columns of the intervals."""
    return [f"{end}_{level:.0%}".rstrip("%") for level in LEVELS for end in ("low", "high")]


def add_intervals(table: pd.DataFrame, curves: SurvivalCurves | None) -> None:
    """Put the central intervals of the predicted times into the table; empty without curves."""
    ends = [end for level in LEVELS for end in _interval(curves, level)]
    for name, end in zip(interval_columns(), ends, strict=True):
        table[name] = end


def _interval(curves: SurvivalCurves | None, level: float) -> tuple[np.ndarray | float, ...]:
    return (np.nan, np.nan) if curves is None else curves.interval(level)


def write_predictions(path: str | Path, table: pd.DataFrame, columns: list[str]) -> None:
    """Write columns of a table of predictions."""
    with atomic(path) as partial:
        table[columns].to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")


def _read_trained(trained: str | Path | None, name: str) -> pd.DataFrame:
    if trained is None:
        log.warning(
            "model %s comes without predictions of its training part: there are no risk groups, "
            "and whether it was trained on patients of this cohort is not known.",
            name,
        )
        return pd.DataFrame(columns=["patient_id", "part", "time", "event", "risk"])
    return pd.read_csv(trained, dtype={"patient_id": str, "part": str})


def _fitted_on(history: pd.DataFrame) -> pd.DataFrame:
    """Return the training patients whose labels the model was given."""
    train = history[history["part"] == "train"]
    return train[train["use"] == "labelled"] if "use" in train else train


def _check_width(bags: BagFolder, made: Mapping[str, Any], name: str) -> None:
    if bags.width != made["in_dim"]:
        raise OriginError(
            [
                f"{bags.cohort}: features are {bags.width} wide, but model {name} was trained on "
                f"{made['in_dim']}; they come from another encoder. Choose the encoder of the "
                "models."
            ]
        )


def _baseline(network: Network, history: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """Return what turns a Cox risk into survival: the baseline of the training part."""
    if not network.head.proportional:
        return {}
    train = _fitted_on(history)
    if not len(train):
        log.warning("model %s: no survival and no time, for want of a Cox baseline.", name)
        return {}
    return baseline_arrays(breslow_baseline(train["time"], train["event"], train["risk"]))


def _groups(risk: pd.Series, threshold: float) -> np.ndarray:
    """Return low or high, empty without a threshold."""
    low, high = GROUPS
    return np.full(len(risk), "") if np.isnan(threshold) else np.where(risk > threshold, high, low)
