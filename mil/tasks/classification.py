"""One of several classes, or several labels that do not exclude each other."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.labelled.class_metrics import auroc
from mil.tasks.base import listed_counts, numbered
from mil.tasks.labelled import LabelTask, counted_values


class Classification(LabelTask):
    """One label column with classes, or several columns of 0 and 1; AUROC says how well."""

    name: ClassVar[str] = "classification"
    score: ClassVar[str] = "auroc"

    @property
    def several(self) -> bool:
        """Whether there are labels that do not exclude each other."""
        return len(self.columns) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """What has a probability: the classes or, of several labels, the columns."""
        return self.columns if self.several else self.classes

    def needed(self) -> list[tuple[str, str]]:
        """Return every class of every column."""
        return [(column, value) for column in self.columns for value in self.classes]

    def fit_options(self) -> dict[str, Any]:
        """Return the names of the classes or labels."""
        return {"classes": list(self.names)}

    def groups(self, part: pd.DataFrame) -> NDArray[np.int64]:
        """Return the class; of several labels their combination."""
        return numbered(list(part[list(self.columns)].itertuples(index=False, name=None)))

    def measure(self, part: pd.DataFrame, prediction: Any) -> float:
        """Return the AUROC, mean over classes held against the others, or over labels."""
        (truth,) = self.arrays(part)
        return float(auroc(truth, prediction.probability, np.ones((1, len(part))))[0])

    def counted(self, part: pd.DataFrame) -> str:
        """Return how many have each class; of several labels how many have each."""
        if not self.several:
            return listed_counts(counted_values(part, self.columns[0], self.classes))
        return listed_counts({column: int((part[column] == 1).sum()) for column in self.columns})

    @property
    def told_columns(self) -> tuple[str, ...]:
        """``probability_<class>`` of each class or label."""
        return tuple(f"probability_{name}" for name in self.names)

    def predicted(self, prediction: Any) -> pd.DataFrame:
        """Return the probability of each class or label."""
        return pd.DataFrame(prediction.probability, columns=list(self.told_columns))


TASK = Classification
