"""What a comparison says of one experiment."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ComparedExperiment:
    """A row of ``comparison.csv``; NaN where undefined.

    ``low`` and ``high`` are the 95 % bootstrap interval of the mean C over folds; ``difference`` is
    this experiment minus the best one, on the patients that both have (``shared``).
    """

    experiment: str
    c_index: float
    low: float
    high: float
    sd_over_folds: float
    pair_weighted_c: float
    n: int
    events: int
    folds: int
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    shared: int = 0
    reason: str = ""
