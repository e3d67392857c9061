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
    which = _places(predictions, arrays, draws)
    per_patient = {name: arrays[name][which] for name in ("draws", "survival") if name in arrays}
    return curves_of({**arrays, **per_patient}, predictions["risk"].to_numpy(np.float64))


def read_alarms(draws: str | Path) -> tuple[str, ...]:
    """Return the sentences of ``draws.npz`` on degenerate predictions of the test part."""
    return tuple(load_npz(draws)[0]["alarms"].tolist())


def joined_arrays(curves: SurvivalCurves | None) -> dict[str, np.ndarray]:
    """Return curves that several models have together as they are stored in ``curves.npz``."""
    if curves is None:
        return {}
    return {
        "knots": _once(curves.knots),
        "survival": _once(curves.survival),
        "straight": np.array(curves.straight),
        "end": np.float64(curves.end),
        "draws": np.int64(curves.draws),
    }


def read_joined_curves(predictions: pd.DataFrame, path: str | Path) -> SurvivalCurves | None:
    """Return the curves of the patients of a table that ``curves.npz`` holds; see `read_curves`."""
    arrays, _ = load_npz(path)
    which = _places(predictions, arrays, path)
    if "knots" not in arrays:
        return None
    n = len(arrays["patient_id"])
    rows = [np.broadcast_to(a, (n, a.shape[1])) for a in (arrays["knots"], arrays["survival"])]
    straight, end, draws = bool(arrays["straight"]), float(arrays["end"]), int(arrays["draws"])
    return SurvivalCurves(*rows, straight, end, draws).rows(which)


def _once(rows: np.ndarray) -> np.ndarray:
    """Return the one row that all patients share, or all rows."""
    return rows[:1] if (rows == rows[:1]).all() else rows


def _places(
    predictions: pd.DataFrame, arrays: Mapping[str, np.ndarray], path: str | Path
) -> np.ndarray:
    """Return where the patients of a table are in the arrays."""
    place = {name: k for k, name in enumerate(arrays["patient_id"].tolist())}
    lost = [name for name in predictions["patient_id"] if name not in place]
    if lost:
        raise InputError([f"{path}: no patient {lost[0]}; it belongs to another predictions.csv."])
    return np.array([place[name] for name in predictions["patient_id"]], dtype=np.int64)
