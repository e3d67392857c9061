"""What every task is: its label columns, what they say as numbers, and its folds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Task:
    """Base of all tasks.

    A *case* is what has a label: a patient, or a slide where ``unit`` says so. It has
    ``patient_id``, ``extra`` (other columns of its table) and ``unusable``, why it cannot be used.

    Attributes
    ----------
    name : in the configuration.
    score : what orders patients, in histories and as ``training.monitor``; higher is better.
    balance : what folds are balanced by, in a sentence.
    columns : label columns of ``cohort/patients.csv`` and of tables in memory.
    unit : ``patient`` or ``slide``, what a bag is. Tables in memory name the bag ``patient_id``
        either way; of a slide, ``owner`` is its patient.
    """

    name: ClassVar[str]
    score: ClassVar[str]
    balance: ClassVar[str] = "label"
    columns: tuple[str, ...]
    unit: str = "patient"

    # ---- tables and folds

    def read(
        self, patients: str | Path, slides: str | Path, exclude: Sequence[str], unit: str | None
    ) -> list[Any]:
        """Return the cases of the user's tables; `unit` is that of times."""
        raise NotImplementedError

    def strata(self, cases: Sequence[Any], stratify: str) -> dict[str, tuple]:
        """Return the stratum of each patient; folds are balanced over them."""
        raise NotImplementedError

    def too_few(self, cases: Sequence[Any], k: int) -> list[str]:
        """Return sentences on why these cases cannot be dealt to k folds."""
        raise NotImplementedError

    def wanting(self, cases: Sequence[Any], part: str) -> str:
        """Return what the cases of a part lack to be trained or judged on, or an empty string."""
        raise NotImplementedError

    def rows(
        self, cases: Sequence[Any], n_slides: Mapping[str, int]
    ) -> tuple[list[str], list[list[object]]]:
        """Return header and rows of ``cohort/patients.csv``."""
        own = self.header(cases)
        extra = sorted({name for case in cases for name in case.extra} - set(own))
        rows = [
            [*self.row(case, n_slides), *(case.extra.get(name, "") for name in extra)]
            for case in cases
        ]
        return [*own, *extra], rows

    def header(self, cases: Sequence[Any]) -> list[str]:
        """Return the first columns of ``cohort/patients.csv``."""
        raise NotImplementedError

    def row(self, case: Any, n_slides: Mapping[str, int]) -> list[object]:
        """Return the cells of a case below ``header``."""
        raise NotImplementedError

    # ---- labels as numbers

    @property
    def dtypes(self) -> dict[str, type]:
        """How label columns of ``cohort/patients.csv`` are read, where pandas must not guess."""
        return dict.fromkeys(self.columns, str)

    def numbers(self, labels: pd.DataFrame) -> pd.DataFrame:
        """Return the label columns of ``cohort/patients.csv`` as numbers, NaN where unknown."""
        raise NotImplementedError

    def unlearnable(self, train: pd.DataFrame) -> str:
        """Return what labels of training patients lack, or an empty string."""
        raise NotImplementedError

    def hidden(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return a part with its labels unknown."""
        return part.assign(**dict.fromkeys(self.columns, np.nan))

    def known(self, part: pd.DataFrame) -> NDArray[np.bool_]:
        """Return who of a part has labels."""
        return part[list(self.columns)].notna().any(axis=1).to_numpy()

    def arrays(self, part: pd.DataFrame) -> tuple[NDArray, ...]:
        """Return labels as heads take them: a target [n] or [n, K]; of survival time and event."""
        values = part[list(self.columns)].to_numpy(np.float64)
        return (values[:, 0] if len(self.columns) == 1 else values,)

    def fit_options(self) -> dict[str, Any]:
        """Return what a head has to know of the task to be fitted."""
        return {}

    def groups(self, part: pd.DataFrame) -> NDArray[np.int64] | None:
        """Return the group [n] of each patient for balanced sampling; None where there is none."""
        return None

    def measure(self, part: pd.DataFrame, prediction: Any) -> float:
        """Return the score of predictions of patients with labels; NaN where undefined."""
        raise NotImplementedError

    def counted(self, part: pd.DataFrame) -> str:
        """Return what the labels of a part are, in a few words."""
        raise NotImplementedError

    @property
    def told_columns(self) -> tuple[str, ...]:
        """Names of the columns of `predicted`."""
        raise NotImplementedError

    def predicted(self, prediction: Any) -> pd.DataFrame:
        """Return what was predicted as columns: a risk, probabilities, or a number."""
        raise NotImplementedError


def listed_counts(counts: Mapping[str, int]) -> str:
    """Return counts in words: ``5 absent, 7 present``."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def numbered(groups: Sequence[Any]) -> NDArray[np.int64]:
    """Return the number of each group among those there are."""
    places = {group: place for place, group in enumerate(sorted(Counter(groups)))}
    return np.array([places[group] for group in groups], dtype=np.int64)
