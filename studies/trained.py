"""One training and its test predictions, done once: a study that was cut off goes on there."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from mil.prediction import predict_fold
from mil.training import train_model
from studies.simulated_cohort import SimulatedCohort
from wsi.storage import load_npz

RUNNING = {"device": "cpu"}  # the same numbers whether or not there is a GPU


@dataclass(frozen=True)
class Trained:
    """What a training left in its folder."""

    folder: Path

    @property
    def test(self) -> pd.DataFrame:
        """Test patients: patient_id, time, event, risk, predicted_time."""
        table = pd.read_csv(self.folder / "predictions.csv")
        return table[table["part"] == "test"].reset_index(drop=True)

    @property
    def test_draws(self) -> NDArray[np.float64]:
        """Draws of the test patients, [n, K], in the order of `test`."""
        part = pd.read_csv(self.folder / "predictions.csv")["part"].to_numpy()
        draws = load_npz(self.folder / "draws.npz")[0]["draws"]
        return draws[part == "test"].astype(np.float64)

    @property
    def t_ref(self) -> float:
        """Time scale that a head with times fitted."""
        return yaml.safe_load((self.folder / "config.yaml").read_text())["fitted"]["t_ref"]


def train(
    cohort: SimulatedCohort,
    fold: int,
    seed: int,
    *,
    model: str,
    head: str,
    training: Mapping[str, Any],
    model_options: Mapping[str, Any],
    head_options: Mapping[str, Any],
) -> Trained:
    """Train on a fold of a cohort and predict its test patients, unless that is done.

    The folder is named by all that is asked for. The experiment, by whose name its draws are
    seeded, is named by model and head alone: arms of a comparison start from the same weights, see
    the patients in the same order, and differ in nothing but what is compared.
    """
    experiment = {
        "name": f"{model}-{head}",
        "model": model,
        "head": head,
        "training": dict(training),
        "model_options": dict(model_options),
        "head_options": dict(head_options),
    }
    asked = json.dumps([experiment, fold, seed], sort_keys=True)
    folder = cohort.root / f"trained/{sha256(asked.encode()).hexdigest()[:16]}"
    attention = folder / "attention.npz"
    if attention.exists():  # what is written last
        return Trained(folder)
    stored = {"model": folder / "model.safetensors", "config": folder / "config.yaml"}
    with warnings_left_out():  # of hundreds of trainings
        train_model(
            **cohort.tables,
            **stored,
            fold=cohort.fold(fold),
            experiment=experiment,
            seed=seed,
            fold_index=fold,
            history=folder / "history.csv",
            running=RUNNING,
        )
        predict_fold(
            **cohort.tables,
            **stored,
            fold=cohort.test_fold(fold),
            predictions=folder / "predictions.csv",
            draws=folder / "draws.npz",
            attention=attention,
            running=RUNNING,
        )
    return Trained(folder)


@contextmanager
def warnings_left_out() -> Iterator[None]:
    """Let the package log errors alone."""
    log = logging.getLogger("mil")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
