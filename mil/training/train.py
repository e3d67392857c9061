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
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mil.bag_folder import BagFolder
from mil.feature_origin import feature_origin
from mil.heads import HEADS
from mil.labels import describe_skipped, patients_sha256, read_fold
from mil.network import build_network
from mil.seeds import seed_for
from mil.training.determinism import deterministic
from mil.training.early_stopping import EarlyStopping
from mil.training.epoch import Validation, train_epoch
from mil.training.history import Epoch, write_history
from mil.training.scaling import fit_scaling
from mil.training.settings import TrainingError, TrainingSettings, choose_device
from mil.training.step import Stepper
from mil.training.store import copy_state, save_state
from wsi.progress import PROGRESS
from wsi.storage import atomic

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
) -> None:
    """Train an experiment on the training part of a fold; the validation part chooses the epoch.

    Parameters
    ----------
    cohort : ``cohort/<encoder>.csv``, the usable slides.
    patients : ``cohort/patients.csv`` with patient_id, time, event.
    fold : ``folds/fold<k>.csv`` with patient_id, part. The test part is not touched.
    root : folder that the paths in ``cohort`` are relative to.
    experiment : ``name, model, head, training, permute_labels``, and where wanted ``model_options``
        and ``head_options``. A number under ``permute_labels`` makes it a null experiment.
    seed : the configuration's; every draw is derived from it, the experiment's name and the fold.
    fold_index : number of the fold.
    model : output, safetensors: network, feature scaling and discriminator of the chosen epoch.
    config : output, YAML: all that prediction needs, with the fitted values and the SHA-256 of the
        sorted training patients they were fitted on, and what their features come from.
    history : output, CSV, a row an epoch (``mil.training.history.Epoch``).

    Raises
    ------
    mil.problems.InputError : tables, bags or settings that cannot be used, in sentences.
    """
    settings = TrainingSettings.of(experiment)
    device = choose_device(settings.device)
    bags = BagFolder(cohort, root)
    permute = experiment.get("permute_labels")
    people = read_fold(fold, patients, bags, permute=permute, seed=seed, fold_index=fold_index)
    if people.skipped:
        log.warning(describe_skipped(people.skipped))
    train, validation = people.part("train"), people.part("validation")

    # What is fitted is fitted here, on the training part.
    head_class = HEADS.find(experiment["head"])
    options = experiment.get("head_options") or {}
    fitted = head_class.fit(train["time"].to_numpy(), train["event"].to_numpy(), **options)

    name = ("train", experiment["name"], fold_index)
    with deterministic(device, seed_for(seed, *name, "start")):
        network = build_network(experiment, bags.width, fitted, settings.standardise)
        if network.scaling is not None:
            network.scaling.set(*fit_scaling(bags, train["patient_id"].tolist()))
        head = network.head
        if network.model.reads_regions:  # test patients too: now, not after the training
            bags.check_regions(people.table["patient_id"], f"model '{network.model.name}'")
        discriminator = head.opponent(bags.width)
        if discriminator is not None:
            known = [*train["patient_id"], *validation["patient_id"]]
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
        )
        order = torch.Generator().manual_seed(seed_for(seed, *name, "order"))
        torch.manual_seed(seed_for(seed, *name, "dropout"))
        higher = settings.monitor == "c_index"
        stopping = EarlyStopping(settings.patience, settings.warmup, higher)
        schedule = ReduceLROnPlateau(
            stepper.optimiser,
            mode="max" if higher else "min",
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
        )
        judge = Validation(network, bags, validation, settings, seed, device)
        if not head.usable(judge.labels) or (higher and not validation["event"].any()):
            raise TrainingError(
                [
                    f"{Path(fold).name}: the {len(validation)} validation patients have too few "
                    "events to choose an epoch by. Use fewer folds, a larger validation share, or "
                    "stratify by event."
                ]
            )

        log.info(
            "%s, fold %d: %s with head %s on %d training patients (%d events), %d for validation "
            "(%d events), %s",
            *(experiment["name"], fold_index, experiment["model"], experiment["head"]),
            *(len(train), train["event"].sum(), len(validation), validation["event"].sum()),
            device,
        )
        epochs: list[Epoch] = []
        kept: dict[str, torch.Tensor] = {}
        clock = _Clock(f"{experiment['name']}, fold {fold_index}", settings.epochs)
        for number in range(1, settings.epochs + 1):
            epoch = Epoch(number, stepper.optimiser.param_groups[0]["lr"])
            train_epoch(epoch, stepper, bags, train, settings.window, order, device)
            judge.measure(epoch)
            epochs.append(epoch)

            value = epoch.validation_c_index if higher else epoch.validation_loss
            if stopping.improves(number, value):
                kept = copy_state(network, discriminator)
            if not math.isnan(value):
                schedule.step(value)
            clock.report(epoch, last=stopping.stop or number == settings.epochs)
            if stopping.stop:
                break

        if not kept:
            kept = copy_state(network, discriminator)
            log.warning(
                "no epoch after the %d of warm-up had a defined validation %s: the last one is "
                "kept. Train longer than training.warmup.",
                *(settings.warmup, settings.monitor),
            )
        chosen = epochs[(stopping.best_epoch or len(epochs)) - 1]
        chosen.chosen = 1
        network.load_state_dict({key: kept[key] for key in network.state_dict()})
        log.info("epoch %d is kept (validation C %.3f)", chosen.epoch, chosen.validation_c_index)
        for complaint in judge.complaints(chosen):
            log.warning("%s, fold %d: %s", experiment["name"], fold_index, complaint)

    save_state(model, kept)
    _write_config(
        config,
        experiment={**experiment, "training": asdict(settings)},
        fitted={**fitted, "training_patients_sha256": patients_sha256(train["patient_id"])},
        in_dim=bags.width,
        features=feature_origin(cohort, train["patient_id"]),
        seed=seed,
        fold_index=fold_index,
        chosen_epoch=chosen.epoch,
    )
    write_history(history, epochs)


def _write_config(path: str | Path, **content: Any) -> None:
    with atomic(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=True))


class _Clock:
    """Say how far the training is: the first and the last epoch, and one about every 15 s."""

    def __init__(self, what: str, epochs: int) -> None:
        self.what, self.epochs = what, epochs
        self.start = self.said = time.monotonic()

    def report(self, epoch: Epoch, last: bool) -> None:
        now = time.monotonic()
        if not (last or epoch.epoch == 1 or now - self.said >= SECONDS_BETWEEN_LINES):
            return
        self.said = now
        left = (now - self.start) / epoch.epoch * (self.epochs - epoch.epoch)
        between = not last and epoch.epoch > 1
        log.log(
            PROGRESS if between else logging.INFO,  # progress is shown on the terminal too
            "%s: epoch %d of %d: loss %.4f, validation loss %.4f, validation C %.3f%s; %s",
            *(self.what, epoch.epoch, self.epochs, epoch.train_loss, epoch.validation_loss),
            epoch.validation_c_index,
            ""
            if math.isnan(epoch.discriminator_loss)
            else f", discriminator {epoch.discriminator_loss:.3f}",
            f"{now - self.start:.0f} s in all" if last else f"at most {left:.0f} s left",
        )
