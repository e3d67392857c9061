"""Predict all patients of a fold with the network trained on it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from mil.alarms import collapse_alarms, evenness
from mil.bag_folder import BagFolder
from mil.bag_loader import BagLoader
from mil.bags import Bag
from mil.contributions import Contributions, contributions
from mil.heads.base import OfPatients, Prediction
from mil.labels import describe_skipped, read_fold
from mil.models.base import Embedding
from mil.network import Network, build_network
from mil.nn.segments import bag_softmax
from mil.noise import noise_bank
from mil.slide_scores import ATTENTION, SlideScores, write_slide_scores
from mil.stored_curves import baseline_arrays, curves_of
from mil.survival.breslow import breslow_baseline
from mil.survival.curves import SurvivalCurves
from mil.tasks import task_of
from mil.training.determinism import deterministic
from mil.training.patients import choose_patients
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
    predictions : output, CSV. Of survival
        ``patient_id,part,time,event,risk,predicted_time,time_flag``; times in the unit of the
        patient table, higher risk is worse. The predicted time is the median of the head's
        distribution. Where a curve does not come down to one half the flag says so: ``not
        reached`` (Cox: no time) or ``last edge`` (time bins: the last finite edge is the time). Of
        a null experiment, time and event are the permuted ones. With ``semi_supervised`` or
        ``training.sample`` also ``use`` of each training patient: ``labelled``, ``unlabelled`` or
        ``left_out``, as the training drew them. Of other tasks (``slide_id`` and) ``patient_id``,
        ``part``, the labels, and ``probability_<class>`` or ``predicted``.
    draws : output, npz, with what survival curves are made of (``mil.stored_curves`` reads it):
        patient_id [n], draws [n, K] of the time (K = 0 without any); for time bins also edges
        [bins + 1] and survival [n, bins] at their right edges; for a Cox head also the baseline of
        the training part: baseline_time and baseline_log_hazard [m], baseline_end. And alarms [a],
        sentences on degenerate predictions of the test part. Of other tasks patient_id, spread
        [n, C] over random attention, and alarms. Its attribute
        training_patients_sha256 names the patients that everything was fitted on.
    attention : output, npz: for each slide of a test patient its attention, float32 [N], which sums
        to 1 over the slides of a patient (of a model whose scores are evidence, these as they are);
        of a model that ends in attention pooling also the contributions of its patches to the risk,
        of one whose attention is random its spread, and of one that classifies patches their
        probabilities (``mil.slide_scores``).
    running : where it is computed, see ``mil.training.settings.Running``.

    Raises
    ------
    mil.problems.InputError : tables or bags that cannot be used, in sentences.
    """
    made = yaml.safe_load(Path(config).read_text())
    experiment, seed = made["experiment"], made["seed"]
    settings = experiment["training"]
    device = choose_device(Running(**(running or {})).device)
    task = task_of(experiment.get("task"))
    bags = BagFolder(cohort, root, task.unit)
    people = read_fold(
        fold,
        patients,
        bags,
        task=task,
        permute=experiment.get("permute_labels"),
        seed=seed,
        fold_index=made["fold_index"],
    )
    if people.skipped:
        log.warning(describe_skipped(people.skipped))

    with deterministic(device, seed):
        network = load_network(model, made, device)
        told, seen, even = [], {}, []
        patients = people.table["patient_id"].tolist()
        each = predict_patients(network, bags, patients, made, device)
        for row, (prediction, scores) in zip(people.table.itertuples(), each, strict=True):
            told.append(prediction)
            if row.part == "test":
                seen |= scores
                if network.model.may_collapse:
                    slides = [slide.attention for slide in scores.values()]
                    even.append(evenness(np.concatenate(slides)))

    table, whole = people.table.copy(), OfPatients.together(told)
    if experiment.get("semi_supervised") is not None or settings.get("sample") is not None:
        chosen = choose_patients(people.part("train"), experiment, seed, made["fold_index"])
        uses = table["patient_id"].map(chosen.uses).fillna("left_out")
        table["use"] = uses.where(table["part"] == "train", "")
    if task.name == "survival":
        arrays = _add_survival(table, whole, made, network.head.proportional)
    else:
        arrays = {"patient_id": np.array(patients), "spread": whole.spread}
        table = pd.concat([_named(table, task.unit), task.told(table, whole)], axis=1)
    _write_table(predictions, table)

    of_test = [one for one, part in zip(told, people.table["part"], strict=True) if part == "test"]
    alarms = network.head.complaints(OfPatients.together(of_test)) if of_test else []
    alarms += collapse_alarms(even)
    for alarm in alarms:
        log.warning("%s, fold %d: %s", experiment["name"], made["fold_index"], alarm)
    arrays["alarms"] = np.array(alarms, dtype=np.str_)
    fitted_on = made["fitted"].get("training_patients_sha256", "")  # of a converted model: unknown
    save_npz(draws, attributes={"training_patients_sha256": fitted_on}, **arrays)
    write_slide_scores(attention, seen)
    log.info("%s, fold %d: %d patients", experiment["name"], made["fold_index"], len(table))


def _add_survival(
    table: pd.DataFrame, whole: Prediction, made: Mapping[str, Any], proportional: bool
) -> dict[str, np.ndarray]:
    """Put risks and times into the table, in its columns' order; return what curves are made of."""
    patients = table["patient_id"].tolist()
    arrays = stored_arrays(patients, whole, made)
    use = [table.pop("use")] if "use" in table else []
    table["risk"] = whole.risk
    if proportional:
        train = table["part"] == "train"
        if use:  # hidden labels stay hidden
            train &= use[0] == "labelled"
        of = table[train]
        arrays |= baseline_arrays(breslow_baseline(of["time"], of["event"], of["risk"]))
    set_times(table, whole.time, curves_of(arrays, whole.risk))
    if use:
        table["use"] = use[0]
    return arrays


def _named(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return the columns of ``predictions.csv`` in front of the labels."""
    if unit == "slide":
        table = table.rename(columns={"patient_id": "slide_id", "owner": "patient_id"})
    columns = ("slide_id", "patient_id", "part", "use")
    return table[[column for column in columns if column in table]]


def load_network(model: str | Path, made: Mapping[str, Any], device: torch.device) -> Network:
    """Return a stored network, ready to predict.

    Parameters
    ----------
    model : ``model.safetensors``.
    made : content of the ``config.yaml`` beside it.
    device : where it shall be.
    """
    experiment = made["experiment"]
    standardise = experiment["training"]["standardise"]
    network = build_network(experiment, made["in_dim"], made["fitted"], standardise)
    network.load_state_dict(load_network_state(model))
    return network.to(device).eval()


def predict_patients(
    network: Network,
    bags: BagFolder,
    patients: Sequence[str],
    made: Mapping[str, Any],
    device: torch.device,
) -> Iterator[tuple[Prediction, dict[str, SlideScores]]]:
    """Yield the prediction of each patient and the scores of each of its slides."""
    draws, seed = made["experiment"]["training"]["draws"], made["seed"]
    for bag in BagLoader(bags, patients, network.model.needs, device, rows=1):  # nobody together
        prediction, embedding = predict_bag(network, bag, draws, seed)
        noise = prediction_noise(network, bag, draws, seed)
        given = contributions(network, embedding, bag.offsets, noise)
        yield prediction, _by_slide(network, embedding, given, bag, bags)


def stored_arrays(
    patients: Sequence[str], whole: Prediction, made: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the arrays of ``draws.npz`` that come from the predictions themselves."""
    arrays = {"patient_id": np.array(list(patients)), "draws": whole.draws}
    if whole.survival is not None:
        arrays["edges"] = np.asarray(made["fitted"]["edges"], dtype=np.float64)
        arrays["survival"] = whole.survival
    return arrays


@torch.no_grad()
def predict_bag(network: Network, bag: Bag, draws: int, seed: int) -> tuple[Prediction, Embedding]:
    """Return the prediction of one patient and what the model made of its bag.

    The noise is the patient's own: the same for every bag that is made of its instances.
    """
    noise = prediction_noise(network, bag, draws, seed)
    output, embedding = network(network.scaled(bag), noise)
    return network.head.predict(output.cpu()), embedding


def prediction_noise(network: Network, bag: Bag, draws: int, seed: int) -> Tensor:
    """Return the noise [B, S, W] that patients are predicted with."""
    noise = noise_bank(network.head, bag.ids, draws, seed, "prediction noise")
    return noise.to(bag.features.device)


def _by_slide(
    network: Network,
    embedding: Embedding,
    given: Contributions | None,
    bag: Bag,
    bags: BagFolder,
) -> dict[str, SlideScores]:
    """Return the scores of each slide of a patient."""
    kind, scores = network.model.scores_are, embedding.scores
    if kind == ATTENTION:
        scores = bag_softmax(scores, bag.offsets)
    slides = bags.slides(bag.ids[0])
    sizes = [slide.patches for slide in slides]
    every = {"attention": scores, "spread": embedding.spread()}
    every["probability"] = network.instance_probability(embedding)
    said = {}
    if every["probability"] is not None:
        said["classes"] = tuple(network.head.names)
    if given is not None:
        every["contribution"] = given.values
        said |= {"towards": given.towards, "exact": given.exact}
    parts = {
        name: [part.float().cpu().numpy() for part in value.split(sizes)]
        for name, value in every.items()
        if value is not None
    }
    return {
        slide.slide_id: SlideScores(
            **{name: own[k] for name, own in parts.items()}, kind=kind, **said
        )
        for k, slide in enumerate(slides)
    }


def set_times(table: pd.DataFrame, time: np.ndarray | None, curves: SurvivalCurves | None) -> None:
    """Put the predicted times into the table, with a flag where a median is not reached."""
    median = None if curves is None else curves.median
    if time is None:
        time = np.full(len(table), np.nan) if median is None else median
    reached = np.ones(len(table), dtype=bool) if median is None else ~np.isinf(median)
    known = np.isfinite(time)
    table["predicted_time"] = np.where(known, time, np.nan)
    table["time_flag"] = np.where(reached, "", np.where(known, "last edge", "not reached"))


def _write_table(path: str | Path, table: pd.DataFrame) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
