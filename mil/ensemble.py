"""One prediction for each patient from the models of all folds."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mil.cohort_prediction import add_intervals, interval_columns, write_predictions
from mil.fold_parts import SEEN
from mil.prediction import set_times
from mil.problems import InputError
from mil.risk_groups import GROUPS
from mil.stored_curves import joined_arrays, read_curves
from mil.survival.mean_curves import mean_curves, restricted_mean
from wsi.storage import save_npz

log = logging.getLogger(__name__)


def join_models(
    *,
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    ensemble: str | Path,
    curves: str | Path,
) -> None:
    """Join what the models of all folds predict for the patients of a further cohort.

    Risks of different models have no common scale and are never averaged. Each model is mapped to
    survival curves (Cox by the baseline of its training part), and their mean is taken; draws are
    pooled, times without a distribution averaged. The risk is minus the median of pooled draws,
    minus the mean time, or minus the mean curve's restricted mean up to the first model's end.

    Parameters
    ----------
    predictions, draws : what ``predict_cohort`` wrote, by fold.
    ensemble : output, CSV ``patient_id,seen_by,risk,predicted_time,time_flag,low_50,...,votes_high,
        group``. ``seen_by`` counts the models that were trained or chosen on the patient,
        ``votes_high`` those that call its risk high, each by the threshold of its own training
        part; ``group`` is what most say, high where they are even.
    curves : output, npz: patient_id [n], knots [1 or n, m] and survival [1 or n, m] of the curves
        (one row where all patients share it), straight (lines, or steps), end, after which they
        are kept flat, and draws, how many each is made of. Heads without curves have only the ids.

    Raises
    ------
    mil.problems.InputError : files of different patients.
    """
    tables = [_read(path) for path in predictions]
    patients = tables[0]["patient_id"].tolist()
    for path, table in zip(predictions, tables, strict=True):
        if table["patient_id"].tolist() != patients:
            raise InputError([f"{path}: other patients than in {predictions[0]}; predict again."])
    found = [read_curves(table, path) for table, path in zip(tables, draws, strict=True)]
    mean = None if any(one is None for one in found) else mean_curves(found)

    joined = pd.DataFrame({"patient_id": patients})
    joined["seen_by"] = sum(table["part"].isin(SEEN).astype(int) for table in tables)
    if mean is None:
        time = np.mean([table["predicted_time"] for table in tables], axis=0)
        without_time = np.isnan(time).all()  # Cox without a baseline: only the models' own orders
        joined["risk"] = np.nan if without_time else -time
        set_times(joined, time, None)
    else:
        set_times(joined, np.minimum(mean.median, mean.end) if mean.straight else None, mean)
        joined["risk"] = -(mean.median if mean.draws else restricted_mean(mean, mean.end))
    add_intervals(joined, mean)
    joined["votes_high"], joined["group"] = _votes(tables)
    columns = ["patient_id", "seen_by", "risk", "predicted_time", "time_flag"]
    write_predictions(ensemble, joined, [*columns, *interval_columns(), "votes_high", "group"])
    save_npz(curves, patient_id=np.array(patients), **joined_arrays(mean))
    log.info("%d models, %d patients", len(tables), len(joined))


def _read(path: str | Path) -> pd.DataFrame:
    text = ("patient_id", "part", "time_flag", "group")
    table = pd.read_csv(path, dtype=dict.fromkeys(text, str))
    return table.fillna(dict.fromkeys(text, ""))


def _votes(tables: Sequence[pd.DataFrame]) -> tuple[np.ndarray | str, np.ndarray | str]:
    """Return how many models call each patient's risk high, and what most call it."""
    low, high = GROUPS
    if any((table["group"] == "").any() for table in tables):  # a model without threshold
        return "", ""
    votes = sum((table["group"] == high).to_numpy(np.int64) for table in tables)
    return votes, np.where(2 * votes >= len(tables), high, low)
