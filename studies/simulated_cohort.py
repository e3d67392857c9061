"""A cohort whose bags and survival are made up, on disk as the stages before training leave it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.clusters import cluster_patches
from mil.cohort import OF_BAGS, OF_REGIONS
from mil.table_writer import write_table
from wsi.storage import Outcome, load_npz, sha256_arrays, write_h5

PATCH = 1024  # step of the coordinates in level-0 pixels; nothing here reads them


@dataclass(frozen=True)
class SimulatedCohort:
    """Where a cohort lies, named as `mil.training.train_model` and `mil.prediction` take it."""

    root: Path

    @property
    def tables(self) -> dict[str, Path]:
        """The arguments that training and prediction share, but the fold."""
        return {
            "cohort": self.root / "cohort.csv",
            "patients": self.root / "patients.csv",
            "root": self.root,
        }

    def fold(self, number: int) -> Path:
        """Return the file of a fold."""
        return self.root / f"folds/fold{number}.csv"

    def test_fold(self, number: int) -> Path:
        """Return a fold with the same test part and one patient in the others: what is predicted.

        A prediction depends on nobody but its patient, so those that no study reads are left out.
        """
        return self.root / f"folds/fold{number}-test.csv"


def write_cohort(
    root: str | Path,
    bags: Mapping[str, NDArray[np.float32]],
    labels: pd.DataFrame,
    folds: list[dict[str, str]],
    clusters: int | None = None,
) -> SimulatedCohort:
    """Write features, tables and folds below `root`, one slide a patient.

    Parameters
    ----------
    root : a folder; its files are overwritten.
    bags : features [N, D] of every patient, N a multiple of 16.
    labels : patient_id, time, event; a row a patient.
    folds : part (train, validation, test) by patient, for every fold.
    clusters : k of the clusters, None for no clusters.
    """
    root = Path(root)
    (root / "folds").mkdir(parents=True, exist_ok=True)
    rows = []
    for patient, features in bags.items():
        path = root / f"features/{patient}.h5"
        coords = np.stack([np.arange(len(features)) * PATCH, np.zeros(len(features))], 1)
        coords = coords.astype(np.int64)
        sha256 = sha256_arrays(features, coords)
        outcome = Outcome(patient, "extract_features")
        write_h5(path, outcome, {"features": features, "coords": coords}, {"sha256": sha256})
        row = [patient, patient, *features.shape, f"features/{patient}.h5", sha256, "true"]
        rows.append([*row, *(["", ""] if clusters is None else _cluster(root, patient, clusters))])
    write_table(root / "cohort.csv", [*OF_BAGS, *OF_REGIONS, "clusters", "clusters_sha256"], rows)
    labels.to_csv(root / "patients.csv", index=False, lineterminator="\n")
    cohort = SimulatedCohort(root)
    for number, parts in enumerate(folds):
        write_table(cohort.fold(number), ["patient_id", "part"], parts.items())
        failed = set(labels.loc[labels["event"] == 1, "patient_id"])
        first = {part: p for p, part in reversed(parts.items()) if p in failed}
        few = [(p, part) for p, part in parts.items() if part == "test" or first[part] == p]
        write_table(cohort.test_fold(number), ["patient_id", "part"], few)
    return cohort


def _cluster(root: Path, patient: str, k: int) -> list[str]:
    """Cluster the patches of a patient; return the file, below `root`, and its hash."""
    path = f"clusters/{patient}.npz"
    features = [str(root / f"features/{patient}.h5")]
    cluster_patches(
        patient_id=patient,
        slides=[patient],
        features=features,
        clusters=str(root / path),
        k=k,
        seed=0,
    )
    return [path, load_npz(root / path)[1]["sha256"]]
