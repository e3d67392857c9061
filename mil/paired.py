"""Two models on the same patients: the difference of their C, and its bootstrap draws."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.fold_predictions import FoldPredictions
from mil.survival.metrics.bootstrap import bootstrap_concordance
from mil.survival.metrics.concordance import harrell_c


def shared_patients(own: FoldPredictions, other: FoldPredictions) -> pd.DataFrame:
    """Return the test patients that both have in a fold, in a fixed order.

    Columns of the other end in ``_other``.
    """
    both = own.test.merge(other.test, on="patient_id", suffixes=("", "_other"))
    return both.sort_values("patient_id", ignore_index=True)


def paired_difference(
    folds: Sequence[pd.DataFrame], bootstrap: int, seed: int
) -> tuple[float, NDArray[np.float64]]:
    """Return own minus other mean C over folds, and the same of every bootstrap draw.

    Parameters
    ----------
    folds : `shared_patients` of each fold.
    bootstrap : number of draws; both models see the same.
    seed : of the configuration.
    """
    sides = [
        [(t["time"].to_numpy(), t["event"].to_numpy(), t[risk].to_numpy()) for t in folds]
        for risk in ("risk", "risk_other")
    ]
    means = [np.mean([harrell_c(*fold).value for fold in side]) for side in sides]
    patients = [t["patient_id"].tolist() for t in folds]
    draws = [bootstrap_concordance(side, bootstrap, seed, patients).mean for side in sides]
    return float(means[0] - means[1]), draws[0] - draws[1]
