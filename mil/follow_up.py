"""Follow-up of a predicted cohort, as its patient table says."""

from pathlib import Path

import pandas as pd

from mil.tables import read_patients


def read_follow_up(patients: str | Path, unit: str) -> pd.DataFrame:
    """Return time and event of the patients with a usable follow-up, by id."""
    usable = [patient for patient in read_patients(patients, unit) if not patient.unusable]
    return pd.DataFrame(
        {"time": [p.time for p in usable], "event": [p.event for p in usable]},
        index=pd.Index([p.patient_id for p in usable], dtype=str),
    )
