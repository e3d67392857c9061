"""One epoch: the steps over the training part, then the look at the validation part."""

import logging

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mil.alarms import collapse_alarms, discriminator_alarms, evenness
from mil.bag_folder import BagFolder
from mil.bag_loader import BagLoader, with_places
from mil.heads.base import Head, Labels, Targets
from mil.network import Network
from mil.nn.segments import bag_softmax
from mil.noise import noise_bank
from mil.seeds import seed_for
from mil.tasks.base import Task
from mil.training.history import Epoch, mean_or_nan
from mil.training.settings import TrainingSettings
from mil.training.step import Stepper
from mil.training.windows import windows

log = logging.getLogger(__name__)


def train_epoch(
    epoch: Epoch,
    stepper: Stepper,
    bags: BagFolder,
    train: pd.DataFrame,
    task: Task,
    settings: TrainingSettings,
    order: torch.Generator,
    device: torch.device,
) -> None:
    """Take the steps of an epoch over the shuffled training part and write down what they saw."""
    network = stepper.network
    shuffled = _drawn(train, task, settings.balanced, order)
    records, seen = [], []
    drop_last = "drop_last" in settings.legacy
    for rows in windows(shuffled, settings.window, network.head, drop_last):
        part = train.iloc[rows]
        loader = BagLoader(bags, part["patient_id"].tolist(), network.model.needs, device)
        record = stepper.step(loader, labels_of(network.head, task, part))
        records.append(record)
        if record.output is not None:
            seen.append((record.output, part))

    overflows = sum(record.overflows for record in records)
    if overflows:
        log.info(
            "epoch %d: %d updates were left out, their gradients were too large for float16; "
            "losses are now scaled by %g",
            *(epoch.epoch, overflows, stepper.scaler.get_scale()),
        )
    epoch.skipped_steps = sum(record.skipped for record in records)
    epoch.train_loss = mean_or_nan([record.loss for record in records])
    epoch.adversarial_loss = mean_or_nan([record.adversarial_loss for record in records])
    epoch.discriminator_loss = mean_or_nan([record.discriminator_loss for record in records])
    epoch.real_accuracy = mean_or_nan([record.real_accuracy for record in records])
    epoch.fake_accuracy = mean_or_nan([record.fake_accuracy for record in records])
    if seen:
        patients = pd.concat([part for _, part in seen])
        known = task.known(patients)
        output = torch.cat([output for output, _ in seen])[torch.from_numpy(known)]
        epoch.train_score = task.measure(patients[known], network.head.predict(output))


class Validation:
    """Measure a network on the validation part, with the same noise in every epoch.

    With the legacy ``fresh_noise`` it is one draw a patient, another one every time; ``generator``
    is what it comes from.
    """

    def __init__(
        self,
        network: Network,
        bags: BagFolder,
        part: pd.DataFrame,
        task: Task,
        settings: TrainingSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.network, self.bags, self.part, self.device = network, bags, part, device
        self.task, self.labels = task, labels_of(network.head, task, part)
        patients = part["patient_id"].tolist()
        draws = settings.validation_draws
        self.noise = noise_bank(network.head, patients, draws, seed, "validation noise")
        self.fresh = "fresh_noise" in settings.legacy
        self.generator = torch.Generator().manual_seed(seed_for(seed, "fresh validation noise"))

    def measure(self, epoch: Epoch) -> None:
        """Write loss and score of the validation part into the epoch's record."""
        output, _ = self._looked_at()
        head = self.network.head
        epoch.validation_loss = head.monitored(output, self.labels).item()
        epoch.validation_score = self.task.measure(self.part, head.predict(output))

    def complaints(self, chosen: Epoch) -> list[str]:
        """Return sentences on degenerate predictions or attention, and on an idle discriminator."""
        output, even = self._looked_at()
        found = self.network.head.complaints(self.network.head.predict(output))
        found += collapse_alarms(even)
        return found + discriminator_alarms(chosen.real_accuracy, chosen.fake_accuracy)

    @torch.no_grad()
    def _looked_at(self) -> tuple[Tensor, list[float]]:
        """Return the outputs, and how even the attention is in each bag if that can collapse."""
        self.network.eval()
        patients = self.part["patient_id"].tolist()
        loader = BagLoader(self.bags, patients, self.network.model.needs, self.device)
        bank = self.noise
        if self.fresh:
            bank = self.network.head.noise(len(patients), 1, self.generator)
        outputs, even = [], []
        for places, bag in with_places(loader):
            noise = bank[places].to(self.device)
            output, embedding = self.network(self.network.scaled(bag), noise)
            outputs.append(output.cpu())
            if self.network.model.may_collapse:
                attention = bag_softmax(embedding.scores, bag.offsets).cpu().split(bag.sizes)
                even += [evenness(one.numpy()) for one in attention]
        return torch.cat(outputs), even


def labels_of(head: Head, task: Task, part: pd.DataFrame) -> Labels | Targets:
    """Return the labels of a part as the head learns them."""
    return head.reads.of(*task.arrays(part))


def _drawn(train: pd.DataFrame, task: Task, balanced: bool, order: torch.Generator) -> list[int]:
    """Return the rows of an epoch: all, shuffled, or as many drawn with classes equally likely."""
    if not balanced:
        return torch.randperm(len(train), generator=order).tolist()
    groups = task.groups(train)
    weights = 1 / torch.from_numpy(np.bincount(groups))[groups].double()
    return torch.multinomial(weights, len(train), replacement=True, generator=order).tolist()
