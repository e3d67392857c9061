"""What a comparison says of one experiment."""

from dataclasses import dataclass

import numpy as np

# Beside the C that ranks: metrics of ``metrics.csv`` that some heads have.
BESIDE = ("uno_c", "ibs_scaled", "d_calibration_p")


@dataclass(frozen=True)
class ComparedExperiment:
    """A row of ``comparison.csv``; NaN where undefined.

    ``low`` and ``high`` are the 95 % bootstrap interval of the mean C over folds; ``difference`` is
    this experiment minus the best one, on the patients that both have (``shared``). ``ibs_scaled``
    is how much better predicted survival is than one curve for everybody (0: not), and
    ``d_calibration_p`` the test of its calibration; NaN for heads without them.
    """

    experiment: str
    c_index: float
    low: float
    high: float
    sd_over_folds: float
    pair_weighted_c: float
    uno_c: float
    ibs_scaled: float
    d_calibration_p: float
    n: int
    events: int
    folds: int
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    shared: int = 0
    reason: str = ""
