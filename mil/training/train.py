"""Train one experiment on one fold, from bags on disk to a stored network."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from mil.annealing import annealings
from mil.bag_folder import BagFolder
from mil.feature_origin import feature_origin
from mil.heads import HEADS
from mil.labels import describe_skipped, patients_sha256, read_fold
from mil.network import build_network
from mil.seeds import seed_for
from mil.tasks import SCORES_IN_WORDS, task_of
from mil.training.allocator import keep_freed_memory
from mil.training.checkpoint import Checkpoint
from mil.training.determinism import deterministic
from mil.training.early_stopping import EarlyStopping
from mil.training.epoch import Validation, train_epoch
from mil.training.history import Epoch, write_history
from mil.training.patients import choose_patients
from mil.training.rate_schedule import advance, rate_schedule
from mil.training.scaling import fit_scaling
from mil.training.settings import (
    LEGACY,
    Running,
    TrainingError,
    TrainingSettings,
    choose_device,
    choose_precision,
)
from mil.training.state import TrainingState
from mil.training.step import Stepper
from mil.training.store import copy_state, save_state
from mil.training.watchers import Watchers
from wsi.progress import PROGRESS
from wsi.storage import atomic, sha256_file

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 15


def train_model(
    *,
    cohort: str | Path,
    patients: str | Path,
    fold: str | Path,
    root: str | Path,
    experiment: Mapping[str, Any],
    seed: int,
    fold_index: int,
    model: str | Path,
    config: str | Path,
    history: str | Path,
    code: str = "",
    running: Mapping[str, Any] | None = None,
) -> None:
    """Train an experiment on the training part of a fold; the validation part chooses the epoch.

    Killed and called again, it goes on where it was and ends with the same bytes: until it is done,
    its state lies in the folder ``checkpoint`` beside ``model``.

    Parameters
    ----------
    cohort : ``cohort/<encoder>.csv``, the usable slides.
    patients : ``cohort/patients.csv`` with patient_id, time, event, or the labels of the task.
    fold : ``folds/fold<k>.csv`` with patient_id, part. The test part is not touched.
    root : folder that the paths in ``cohort`` are relative to.
    experiment : ``name, model, head, training, permute_labels``, and where wanted
        ``model_options``, ``head_options``, ``semi_supervised`` (``mil.semi_supervised``) and, but
        for survival, ``task`` (``mil.tasks``). A number under ``permute_labels`` makes it a null
        experiment.
    seed : the configuration's; every draw is derived from it, the experiment's name and the fold.
    fold_index : number of the fold.
    model : output, safetensors: network, feature scaling and discriminator of the chosen epoch.
    config : output, YAML: all that prediction needs, with the fitted values and the SHA-256 of the
        sorted labelled training patients they were fitted on, and what their features come from.
    history : output, CSV, a row an epoch (``mil.training.history.Epoch``).
    code : a digest of the code; what other code has begun is not gone on with.
    running : what decides no result, see ``mil.training.settings.Running``.

    Raises
    ------
    mil.problems.InputError : tables, bags or settings that cannot be used, in sentences.
    """
    settings = TrainingSettings.of(experiment)
    watched = Running(**(running or {}))
    device = choose_device(watched.device)
    precision = choose_precision(settings.precision, device)
    task = task_of(experiment.get("task"))
    bags = BagFolder(cohort, root, task.unit)
    permuted = {"permute": experiment.get("permute_labels"), "seed": seed, "fold_index": fold_index}
    people = read_fold(fold, patients, bags, task=task, **permuted)
    if people.skipped:
        log.warning(describe_skipped(people.skipped))
    train = choose_patients(people.part("train"), experiment, seed, fold_index)
    labelled, validation = train.labelled, people.part("validation")

    # What is fitted is fitted here, on the labelled training patients unless told otherwise.
    head_class = HEADS.find(experiment["head"])
    options = experiment.get("head_options") or {}
    base = labelled
    fitted_on = {"training_patients_sha256": patients_sha256(labelled["patient_id"])}
    if "table_scale" in settings.legacy:
        base = people.table
        fitted_on["all_patients_sha256"] = patients_sha256(base["patient_id"])
    fitted = head_class.fit(*task.arrays(base), **task.fit_options(), **options)
    fewest = len(train.of_epoch(len(train.turns) or 1))  # the last part is no larger than others
    if "drop_last" in settings.legacy and fewest < settings.window:
        raise TrainingError(
            [
                f"{Path(fold).name}: {fewest} patients of an epoch fill no window of "
                f"{settings.window}, so that legacy drop_last leaves no step. Make training.window "
                "smaller, or take drop_last out of training.legacy."
            ]
        )

    name = ("train", experiment["name"], fold_index)
    if device.type == "cpu":
        keep_freed_memory()
    with deterministic(device, seed_for(seed, *name, "start")):
        network = build_network(experiment, bags.width, fitted, settings.standardise)
        if network.scaling is not None:
            network.scaling.set(*fit_scaling(bags, labelled["patient_id"].tolist()))
        head = network.head
        if network.model.reads_regions:  # test patients too: now, not after the training
            bags.check_regions(people.table["patient_id"], f"model '{network.model.name}'")
        discriminator = head.opponent(bags.width)
        if discriminator is not None:
            known = [*train.used, *validation["patient_id"]]
            bags.check_regions(known, f"head '{head.name}'")
            discriminator.to(device)
        network.to(device)

        rate = settings.learning_rate
        decay = settings.weight_decay
        stepper = Stepper(
            network,
            discriminator,
            learning_rate=head.learning_rate if rate is None else rate,
            weight_decay=head.weight_decay if decay is None else decay,
            l1=settings.l1,
            noise=torch.Generator().manual_seed(seed_for(seed, *name, "noise")),
            optimiser=settings.optimiser,
            betas=settings.betas,
            lookahead=settings.lookahead,
            clip_norm=settings.clip_norm,
            ema=settings.ema,
            precision=precision,
            annealing=annealings(settings.annealing, experiment["model"], network.model.terms),
        )
        judged = stepper.judged
        order = torch.Generator().manual_seed(seed_for(seed, *name, "order"))
        torch.manual_seed(seed_for(seed, *name, "dropout"))
        by_score = settings.monitor != "loss"
        higher = by_score and "monitor" not in settings.legacy
        warmup = train.warmup(settings.warmup)
        stopping = EarlyStopping(settings.patience, warmup, higher)
        schedule = rate_schedule(stepper.optimiser, settings, higher)
        judge = Validation(judged, bags, validation, task, settings, seed, device)
        if not head.usable(judge.labels) or (by_score and task.unlearnable(validation)):
            raise TrainingError(
                [
                    f"{Path(fold).name}: the {len(validation)} validation patients have too few "
                    f"{task.balance}s to choose an epoch by. Use fewer folds, a larger validation "
                    f"share, or stratify by {task.balance}."
                ]
            )

        log.info(
            "%s, fold %d: %s with head %s on %d training patients (%s), %d for validation (%s), "
            "%s, %s",
            *(experiment["name"], fold_index, experiment["model"], experiment["head"]),
            *(len(labelled), task.counted(labelled), len(validation), task.counted(validation)),
            *(device, str(precision).removeprefix("torch.")),
        )
        train.describe(settings.warmup)
        for legacy in settings.legacy:
            log.warning("legacy, as AdvMIL's code does it: %s.", LEGACY[legacy])
        state = TrainingState(stepper, schedule, stopping, order, judge.generator)
        made_by = {
            "experiment": {**experiment, "training": asdict(settings)},
            "seed": seed,
            "fold_index": fold_index,
            "tables": [sha256_file(path) for path in (cohort, patients, fold)],
            "machine": [device.type, str(precision), torch.__version__],
            "code": code,
        }
        checkpoint = Checkpoint(Path(model).parent / "checkpoint", made_by)
        if found := checkpoint.load():
            state.load_state_dict(found)
            log.info("it goes on behind epoch %d, from %s", len(state.epochs), checkpoint.path)
        epochs = state.epochs
        what = f"{experiment['name']}, fold {fold_index}"
        clock = _Clock(what, SCORES_IN_WORDS[task.score], len(epochs), settings.epochs)
        with Watchers(watched, experiment, fold_index, checkpoint.seal, len(epochs)) as watchers:
            while not stopping.stop and len(epochs) < settings.epochs:
                epoch = Epoch(len(epochs) + 1, stepper.optimiser.param_groups[0]["lr"])
                taught = train.of_epoch(epoch.epoch)
                train_epoch(epoch, stepper, bags, taught, task, settings, order, device)
                judge.measure(epoch)
                epochs.append(epoch)

                value = epoch.validation_score if by_score else epoch.validation_loss
                if stopping.improves(epoch.epoch, value):
                    state.kept = copy_state(judged, discriminator)
                advance(schedule, value)
                watchers.tell(epoch)
                clock.report(epoch, last=stopping.stop or epoch.epoch == settings.epochs)
                if checkpoint.is_due:
                    checkpoint.save(state.state_dict())

        kept = state.kept
        if not kept:
            kept = copy_state(judged, discriminator)
            log.warning(
                "no epoch after the %d of warm-up had a defined validation %s: the last one is "
                "kept. Train longer than training.warmup.",
                *(warmup, settings.monitor),
            )
        chosen = epochs[(stopping.best_epoch or len(epochs)) - 1]
        chosen.chosen = 1
        judged.load_state_dict({key: kept[key] for key in judged.state_dict()})
        log.info(
            "epoch %d is kept (validation %s %.3f)",
            *(chosen.epoch, SCORES_IN_WORDS[task.score], chosen.validation_score),
        )
        for complaint in judge.complaints(chosen):
            log.warning("%s, fold %d: %s", experiment["name"], fold_index, complaint)

    save_state(model, kept)
    _write_config(
        config,
        experiment={**experiment, "training": asdict(settings)},
        fitted={**fitted, **fitted_on},
        in_dim=bags.width,
        features=feature_origin(cohort, labelled["patient_id"]),
        seed=seed,
        fold_index=fold_index,
        chosen_epoch=chosen.epoch,
        precision=str(precision).removeprefix("torch."),
        torch=str(torch.__version__),
    )
    write_history(history, epochs, task.score)
    checkpoint.remove()


def _write_config(path: str | Path, **content: Any) -> None:
    with atomic(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=True))


class _Clock:
    """Say how far the training is: the first and the last epoch, and one about every 15 s."""

    def __init__(self, what: str, score: str, done: int, epochs: int) -> None:
        self.what, self.score, self.done, self.epochs = what, score, done, epochs
        self.start = self.said = time.monotonic()

    def report(self, epoch: Epoch, last: bool) -> None:
        now = time.monotonic()
        first = epoch.epoch == self.done + 1
        if not (last or first or now - self.said >= SECONDS_BETWEEN_LINES):
            return
        self.said = now
        left = (now - self.start) / (epoch.epoch - self.done) * (self.epochs - epoch.epoch)
        between = not last and not first
        log.log(
            PROGRESS if between else logging.INFO,  # progress is shown on the terminal too
            "%s: epoch %d of %d: loss %.4f, validation loss %.4f, validation %s %.3f%s; %s",
            *(self.what, epoch.epoch, self.epochs, epoch.train_loss, epoch.validation_loss),
            *(self.score, epoch.validation_score),
            ""
            if math.isnan(epoch.discriminator_loss)
            else f", discriminator {epoch.discriminator_loss:.3f}",
            f"{now - self.start:.0f} s in all" if last else f"at most {left:.0f} s left",
        )
