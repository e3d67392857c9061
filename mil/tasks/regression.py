"""A number."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mil.label_table import Labelled
from mil.labelled.number_metrics import r_squared
from mil.tasks.labelled import PARTS_OF_RANGE, LabelTask


class Regression(LabelTask):
    """One label column of numbers; R squared says how well they are predicted."""

    name: ClassVar[str] = "regression"
    score: ClassVar[str] = "r2"

    def own_strata(self, cases: Sequence[Labelled]) -> list[tuple]:
        """Return the third of the cases that each number lies in."""
        values = np.array([float(case.labels[self.columns[0]]) for case in cases])
        below = np.searchsorted(np.sort(values), values)
        return [(int(third),) for third in below * PARTS_OF_RANGE // len(values)]

    def too_few(self, cases: Sequence[Labelled], k: int) -> list[str]:
        """Return a sentence if parts could hold fewer than two patients."""
        patients = len({case.patient_id for case in cases})
        if patients >= 3 * k:
            return []
        return [
            f"{patients} patients have {self.columns[0]}; {k} folds need {3 * k}: lower folds.k or "
            "add patients."
        ]

    def measure(self, part: pd.DataFrame, prediction: Any) -> float:
        """Return R squared."""
        (truth,) = self.arrays(part)
        return float(r_squared(truth, prediction.value, np.ones((1, len(part))))[0])

    def counted(self, part: pd.DataFrame) -> str:
        """Return mean and standard deviation."""
        values = part[self.columns[0]].dropna()
        return f"{self.columns[0]} {values.mean():.3g}, SD {values.std(ddof=0):.3g}"

    def predicted(self, prediction: Any) -> pd.DataFrame:
        """Return the predicted number."""
        return pd.DataFrame({"predicted": prediction.value})


TASK = Regression
