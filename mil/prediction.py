"""Predict all patients of a fold with the network trained on it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from mil.bag_folder import BagFolder
from mil.bag_loader import BagLoader
from mil.bags import Bag
from mil.heads.base import Prediction
from mil.labels import describe_skipped, read_fold
from mil.network import Network, build_network
from mil.nn.segments import segment_softmax
from mil.noise import noise_bank
from mil.training.determinism import deterministic
from mil.training.settings import Running, choose_device
from mil.training.store import load_network_state
from wsi.storage import atomic, save_npz

log = logging.getLogger(__name__)


def predict_fold(
    *,
    model: str | Path,
    config: str | Path,
    cohort: str | Path,
    patients: str | Path,
    fold: str | Path,
    root: str | Path,
    predictions: str | Path,
    draws: str | Path,
    attention: str | Path,
    running: Mapping[str, Any] | None = None,
) -> None:
    """Predict every patient of a fold who has a usable slide, in the order of the fold file.

    A patient's noise comes from a seed of its own, so its prediction depends on nobody else.

    Parameters
    ----------
    model, config : what ``train_model`` wrote.
    cohort, patients, fold, root : as for ``train_model``.
    predictions : output, CSV ``patient_id,part,time,event,risk,predicted_time``; times in the unit
        of the patient table, higher risk is worse, no predicted time where the head has none. Of a
        null experiment, time and event are the permuted ones.
    draws : output, npz: patient_id [n], draws [n, K] of the time (K = 0 without any); for time bins
        also edges [bins + 1] and survival [n, bins] at their right edges.
    attention : output, npz: for each slide of a test patient float32 [N]; it sums to 1 over the
        slides of a patient.
    running : where it is computed, see ``mil.training.settings.Running``.

    Raises
    ------
    mil.problems.InputError : tables or bags that cannot be used, in sentences.
    """
    made = yaml.safe_load(Path(config).read_text())
    experiment, seed = made["experiment"], made["seed"]
    settings = experiment["training"]
    device = choose_device(Running(**(running or {})).device)
    bags = BagFolder(cohort, root)
    people = read_fold(
        fold,
        patients,
        bags,
        permute=experiment.get("permute_labels"),
        seed=seed,
        fold_index=made["fold_index"],
    )
    if people.skipped:
        log.warning(describe_skipped(people.skipped))

    with deterministic(device, seed):
        network = build_network(experiment, made["in_dim"], made["fitted"], settings["standardise"])
        network.load_state_dict(load_network_state(model))
        network.to(device).eval()
        told, seen = [], {}
        patients = people.table["patient_id"].tolist()
        each = BagLoader(bags, patients, network.model.needs, device, rows=1)  # nobody together
        for row, bag in zip(people.table.itertuples(), each, strict=True):
            prediction, weights = _predict(network, bags, bag, settings["draws"], seed)
            told.append(prediction)
            if row.part == "test":
                seen |= weights

    table = people.table.copy()
    table["risk"] = np.concatenate([prediction.risk for prediction in told])
    timed = told[0].time is not None
    table["predicted_time"] = (
        np.concatenate([prediction.time for prediction in told]) if timed else np.nan
    )
    _write_table(predictions, table)
    arrays = {
        "patient_id": np.array(table["patient_id"].tolist()),
        "draws": np.concatenate([prediction.draws for prediction in told]),
    }
    if told[0].survival is not None:
        arrays["edges"] = np.asarray(made["fitted"]["edges"], dtype=np.float64)
        arrays["survival"] = np.concatenate([prediction.survival for prediction in told])
    save_npz(draws, **arrays)
    save_npz(attention, **seen)
    log.info("%s, fold %d: %d patients", experiment["name"], made["fold_index"], len(table))


@torch.no_grad()
def _predict(
    network: Network, bags: BagFolder, bag: Bag, draws: int, seed: int
) -> tuple[Prediction, dict[str, np.ndarray]]:
    """Return the prediction of one patient and the attention on each of its slides."""
    noise = noise_bank(network.head, bag.ids, draws, seed, "prediction noise")
    output, embedding = network(network.scaled(bag), noise.to(bag.features.device))
    weights = segment_softmax(embedding.scores, bag.offsets).float().cpu().numpy()
    slides = bags.slides(bag.ids[0])
    ends = np.cumsum([slide.patches for slide in slides])[:-1]
    by_slide = {
        slide.slide_id: part for slide, part in zip(slides, np.split(weights, ends), strict=True)
    }
    return network.head.predict(output.cpu()), by_slide


def _write_table(path: str | Path, table: pd.DataFrame) -> None:
    columns = ["patient_id", "part", "time", "event", "risk", "predicted_time"]
    with atomic(path) as partial:
        table[columns].to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
