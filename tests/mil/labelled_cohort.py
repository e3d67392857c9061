"""Labels of each kind for the cohort of ``synthetic_cohort``, in the place of its follow-up."""

import numpy as np
import pandas as pd

TASKS = {
    "classification": (["grade"], ["low", "high"], "classes"),
    "ordinal": (["grade"], ["low", "mid", "high"], "ordinal"),
    "regression": (["size"], [], "regression"),
    "several": (["early", "late"], ["0", "1"], "classes"),
}
LEARN = {
    "epochs": 12, "window": 8, "warmup": 0, "learning_rate": 2e-3, "l1": 0.0, "standardise": True
}  # fmt: skip
SMALL = {"model_options": {"hidden": 16, "out": 16, "dropout": 0.0}}


def settings(kind, unit="patient"):
    columns, classes, _ = TASKS[kind]
    name = "classification" if kind == "several" else kind
    return {"name": name, "columns": columns, "classes": classes, "unit": unit}


def label(root, kind, unit="patient"):
    """Replace the follow-up in patients.csv by a label that follows the share of instances."""
    table = pd.read_csv(root / "patients.csv")
    rank = table["time"].rank(pct=True).to_numpy()
    _, classes, _ = TASKS[kind]
    if kind == "regression":
        columns = {"size": 10 + 5 * rank}
    elif kind == "several":
        columns = {"early": (rank < 0.5).astype(int), "late": (rank > 0.4).astype(int)}
    else:
        place = np.minimum((rank * len(classes)).astype(int), len(classes) - 1)
        columns = {"grade": np.array(classes)[place]}
    labels = pd.DataFrame({"patient_id": table["patient_id"], **columns})
    if unit == "slide":
        slides = pd.read_csv(root / "cohort.csv")[["slide_id", "patient_id"]]
        labels = slides.merge(labels, on="patient_id")
    labels.to_csv(root / "patients.csv", index=False)
