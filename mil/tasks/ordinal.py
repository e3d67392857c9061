"""A grade: classes in an order."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mil.labelled.class_metrics import kappa
from mil.tasks.classification import Classification


class Ordinal(Classification):
    """One label column whose classes have an order, the lowest first; quadratic kappa scores it.

    References
    ----------
    Cohen, Psychological Bulletin 1968.
    """

    name: ClassVar[str] = "ordinal"
    score: ClassVar[str] = "kappa"

    def measure(self, part: pd.DataFrame, prediction: Any) -> float:
        """Return kappa with quadratic weights of the grades with the highest probability."""
        (truth,) = self.arrays(part)
        predicted = prediction.probability.argmax(1)
        counts = np.ones((1, len(part)))
        return float(kappa(truth, predicted, counts, len(self.classes))[0])


TASK = Ordinal
