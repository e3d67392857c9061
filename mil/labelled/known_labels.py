"""Labels of a predicted cohort, as its table says."""

from pathlib import Path

import pandas as pd

from mil.label_table import read_labels
from mil.tasks.labelled import LabelTask


def with_labels(table: pd.DataFrame, path: str | Path, task: LabelTask) -> pd.DataFrame:
    """Return the rows of those who have a label, with the labels as text, empty where unknown.

    Parameters
    ----------
    table : with the id of the patient or, where those are the units, of the slide.
    path : table of patients, or of slides.
    task : whose labels they are.
    """
    cases = read_labels(path, task.columns, task.classes, task.unit)
    known = {case.slide_id or case.patient_id: case.labels for case in cases if not case.unusable}
    ids = table[f"{task.unit}_id"]
    found = table[ids.isin(set(known))].reset_index(drop=True)
    labels = [known[name] for name in found[f"{task.unit}_id"]]
    return found.assign(**pd.DataFrame(labels, columns=list(task.columns), dtype=str))
