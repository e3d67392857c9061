"""What a comparison says of one experiment of a task with labels, or of its seeds together."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ComparedLabels:
    """A row of ``comparison.csv``; NaN where undefined.

    Experiments that differ by their seeds alone have a row together above theirs: the mean over
    seeds. Groups are compared with each other, their members are not.

    Attributes
    ----------
    experiment, group : names; they are equal but for a group's members.
    seeds : trained with, in this row.
    metric : the task's score, of which ``value`` is the mean over folds (and seeds); `low` and
        `high` its 95 % bootstrap interval.
    sd_over_folds : a spread, of the mean over seeds.
    sd_over_seeds : of the mean over folds; NaN without seeds.
    n : patients (or slides) tested.
    difference : of this group and the best one, on those that both have (``shared``).
    """

    experiment: str
    group: str
    seeds: int
    metric: str
    value: float
    low: float
    high: float
    sd_over_folds: float
    sd_over_seeds: float
    n: int
    folds: int
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    shared: int = 0
    reason: str = ""

    @property
    def is_member(self) -> bool:
        """Whether this is one seed of a group that has a row above."""
        return self.experiment != self.group

    @property
    def counted(self) -> str:
        """On whom, in a few words."""
        return f"n = {self.n}"
