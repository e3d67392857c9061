"""Survival curves from the files of a fold: how predictions are stored beside the table."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mil.problems import InputError
from mil.survival.breslow import BreslowBaseline
from mil.survival.curves import SurvivalCurves, curves_of_bins, curves_of_cox, curves_of_draws
from wsi.storage import load_npz


def curves_of(arrays: Mapping[str, np.ndarray], risk: ArrayLike) -> SurvivalCurves | None:
    """Return the curves of the patients in ``draws.npz``; None if the head says nothing of them.

    Parameters
    ----------
    arrays : of ``draws.npz``, see ``mil.prediction.predict_fold``.
    risk : [n], of the same patients in the same order.
    """
    if "baseline_log_hazard" in arrays:
        return curves_of_cox(baseline_of(arrays), risk)
    if "edges" in arrays:
        return curves_of_bins(arrays["edges"], arrays["survival"])
    return curves_of_draws(arrays["draws"]) if arrays["draws"].shape[1] > 1 else None


def baseline_arrays(baseline: BreslowBaseline) -> dict[str, np.ndarray]:
    """Return a Cox baseline as it is stored in ``draws.npz``."""
    return {
        "baseline_time": baseline.time,
        "baseline_log_hazard": baseline.log_hazard,
        "baseline_end": np.float64(baseline.end),
    }


def baseline_of(arrays: Mapping[str, np.ndarray]) -> BreslowBaseline:
    """Return the Cox baseline that ``draws.npz`` holds."""
    names = ("baseline_time", "baseline_log_hazard")
    return BreslowBaseline(*(arrays[name] for name in names), float(arrays["baseline_end"]))


def read_curves(predictions: pd.DataFrame, draws: str | Path) -> SurvivalCurves | None:
    """Return the curves of the patients of a table, in its order; None if their head has none.

    Parameters
    ----------
    predictions : rows of ``predictions.csv``: all of a fold, or those of a part.
    draws : the ``draws.npz`` beside it.

    Raises
    ------
    InputError : a patient of the table is not in ``draws``.
    """
    arrays, _ = load_npz(draws)
    place = {name: k for k, name in enumerate(arrays["patient_id"].tolist())}
    lost = [name for name in predictions["patient_id"] if name not in place]
    if lost:
        raise InputError([f"{draws}: no patient {lost[0]}; it belongs to another predictions.csv."])
    which = np.array([place[name] for name in predictions["patient_id"]], dtype=np.int64)
    per_patient = {name: arrays[name][which] for name in ("draws", "survival") if name in arrays}
    return curves_of({**arrays, **per_patient}, predictions["risk"].to_numpy(np.float64))


def read_alarms(draws: str | Path) -> tuple[str, ...]:
    """Return the sentences of ``draws.npz`` on degenerate predictions of the test part."""
    return tuple(load_npz(draws)[0]["alarms"].tolist())
