"""Time to an event, with censoring."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.drawn_folds import strata_of
from mil.survival.metrics.concordance import harrell_c
from mil.tables import Patient, read_patients
from mil.tasks.base import Task


class Survival(Task):
    """Time and event of a patient; Harrell's C says how well they are ordered."""

    name: ClassVar[str] = "survival"
    score: ClassVar[str] = "c_index"
    balance: ClassVar[str] = "event"
    columns = ("time", "event")
    told_columns = ("risk",)

    def read(
        self, patients: str | Path, slides: str | Path, exclude: Sequence[str], unit: str | None
    ) -> list[Patient]:
        """Return the patients of the patient table."""
        return read_patients(patients, unit)

    def strata(self, cases: Sequence[Patient], stratify: str) -> dict[str, tuple]:
        """Return event and tercile of time of each patient."""
        return strata_of(cases, stratify)

    def too_few(self, cases: Sequence[Patient], k: int) -> list[str]:
        """Return a sentence if there are fewer events than folds."""
        events = sum(patient.event for patient in cases)
        if events >= k:
            return []
        return [
            f"{events} of {len(cases)} usable patients have an event; {k} folds need {k}: "
            "lower folds.k or add patients."
        ]

    def wanting(self, cases: Sequence[Patient], part: str) -> str:
        """Return that there is no event, but in a validation part, whose time alone may do."""
        return "" if part == "validation" or any(p.event for p in cases) else "an event"

    def header(self, cases: Sequence[Patient]) -> list[str]:
        """Return patient, time, event and number of slides."""
        return ["patient_id", "time", "event", "n_slides"]

    def row(self, case: Patient, n_slides: Mapping[str, int]) -> list[object]:
        """Return the follow-up of a patient."""
        return [case.patient_id, case.time, case.event, n_slides[case.patient_id]]

    @property
    def dtypes(self) -> dict[str, type]:
        """Times and events are numbers."""
        return {}

    def numbers(self, labels: pd.DataFrame) -> pd.DataFrame:
        """Return time as float64 and event as int64."""
        return pd.DataFrame(
            {
                "time": labels["time"].to_numpy(np.float64),
                "event": labels["event"].to_numpy(np.int64),
            }
        )

    def unlearnable(self, train: pd.DataFrame) -> str:
        """Return that nobody has an event."""
        return "" if train["event"].any() else "an event"

    def hidden(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return a part with times unknown and no event."""
        return part.assign(time=np.nan, event=0)

    def known(self, part: pd.DataFrame) -> NDArray[np.bool_]:
        """Return whose time is known."""
        return part["time"].notna().to_numpy()

    def arrays(self, part: pd.DataFrame) -> tuple[NDArray, ...]:
        """Return time and event."""
        return part["time"].to_numpy(), part["event"].to_numpy()

    def groups(self, part: pd.DataFrame) -> NDArray[np.int64]:
        """Return the event."""
        return part["event"].to_numpy(np.int64)

    def measure(self, part: pd.DataFrame, prediction: Any) -> float:
        """Return Harrell's C, NaN where no pair is comparable."""
        return harrell_c(part["time"], part["event"], prediction.risk).value

    def predicted(self, prediction: Any) -> pd.DataFrame:
        """Return the risk."""
        return pd.DataFrame({"risk": prediction.risk})

    def counted(self, part: pd.DataFrame) -> str:
        """Return the number of events."""
        return f"{part['event'].sum()} events"
