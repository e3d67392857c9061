"""What a comparison says of one experiment, or of several that differ by their seeds alone."""

from dataclasses import dataclass

import numpy as np

# Beside the C that ranks: metrics of ``metrics.csv`` that some heads have.
BESIDE = ("uno_c", "ibs_scaled", "d_calibration_p")


@dataclass(frozen=True)
class ComparedExperiment:
    """A row of ``comparison.csv``; NaN where undefined.

    Experiments that differ by their seeds alone are a group, which has a row of its own above
    theirs: the mean over its seeds. Groups are compared with each other, their members are not.

    Attributes
    ----------
    experiment, group : names; they are equal but for a group's members.
    seeds : trained with, in this row.
    c_index : mean over folds (and seeds) of Harrell's C; `low` and `high` its 95 % bootstrap
        interval.
    sd_over_folds : of C, mean over seeds; all folds of all repeats.
    sd_over_repeats : of the mean over a repeat's folds; NaN without repeats.
    sd_over_seeds : of the mean over folds; NaN without seeds.
    difference : of this group and the best one, on the patients that both have (``shared``).
    uno_c, ibs_scaled, d_calibration_p : how well patients are ordered, allowing for censoring, how
        much better predicted survival is than one curve for everybody (0: not), and the test of its
        calibration; NaN for heads without them. Of a group means over seeds, but no p.
    """

    experiment: str
    group: str
    seeds: int
    c_index: float
    low: float
    high: float
    sd_over_folds: float
    sd_over_repeats: float
    sd_over_seeds: float
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

    @property
    def value(self) -> float:
        """What ranks: C."""
        return self.c_index

    @property
    def counted(self) -> str:
        """On whom, in a few words."""
        return f"n = {self.n}, {self.events} events"

    @property
    def is_member(self) -> bool:
        """Whether this is one seed of a group that has a row above."""
        return self.experiment != self.group
