"""One optimiser step on a window of bags: the discriminator's, then the network's."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from mil.bags import Bag
from mil.discriminator import Discriminator
from mil.heads.base import Labels
from mil.network import Network
from mil.survival.losses.adversarial import discriminator_loss
from mil.training.settings import TrainingError


@dataclass
class StepRecord:
    """What a step saw, before its updates; NaN where there was nothing to see."""

    output: Tensor | None = None  # raw outputs of the head, detached, on the CPU, [B, ...]
    loss: float = math.nan
    adversarial_loss: float = math.nan
    discriminator_loss: float = math.nan
    real_accuracy: float = math.nan
    fake_accuracy: float = math.nan
    skipped: bool = False


class Stepper:
    """Take optimiser steps (Liu et al., AdvMIL, 2024; spec of the order of updates there).

    Parameters
    ----------
    network : model and head, AdvMIL's generator.
    discriminator : its opponent, or None.
    learning_rate, weight_decay : of the network's Adam; the discriminator has the same rate and no
        decay.
    l1 : weight of the sum of absolute parameters of the network.
    noise : generator of the head's noise.
    """

    def __init__(
        self,
        network: Network,
        discriminator: Discriminator | None,
        *,
        learning_rate: float,
        weight_decay: float,
        l1: float,
        noise: torch.Generator,
    ) -> None:
        self.network = network
        self.discriminator = discriminator
        self.l1 = l1
        self.noise = noise
        self.optimiser = adam(network, learning_rate, weight_decay)
        if discriminator is not None:
            self.discriminator_optimiser = adam(discriminator, learning_rate, 0.0)

    def step(self, bag: Bag, labels: Labels) -> StepRecord:
        """Update on one window; a window without a usable event changes nothing."""
        record = StepRecord()
        if not self.network.head.usable(labels):
            record.skipped = True
            return record
        bag = self.network.scaled(bag)
        if self.discriminator is not None:
            self.improve_discriminator(bag, labels, record)
        self.improve_network(bag, labels, record)
        return record

    def improve_discriminator(self, bag: Bag, labels: Labels, record: StepRecord) -> None:
        """Teach the discriminator observed events from generated times; dropout off in G."""
        head = self.network.head
        self.network.eval()
        self.discriminator.train()
        with torch.no_grad():
            output, _ = self.network(bag, self._noise(bag))  # [B, 1]
        evidence = self.discriminator.encode(bag)
        fake = self.discriminator.judge(evidence, output[:, 0])  # [B]: censored ones too
        observed = head.scaled(labels).to(output.device)
        real = self.discriminator.judge(evidence, observed)[labels.event.to(output.device)]
        loss = discriminator_loss(real, fake, head.discriminator_loss)
        self.discriminator_optimiser.zero_grad()
        loss.backward()
        self.discriminator_optimiser.step()

        record.output = output.cpu()
        record.discriminator_loss = loss.item()
        record.fake_accuracy = (fake < 0).float().mean().item()
        if len(real):
            record.real_accuracy = (real > 0).float().mean().item()

    def improve_network(self, bag: Bag, labels: Labels, record: StepRecord) -> None:
        """Improve the network on its loss and, if it has an opponent, against it (in eval mode)."""
        head = self.network.head
        self.network.train()
        output, embedding = self.network(bag, self._noise(bag))
        supervised = head.loss(output.cpu(), labels)
        loss = supervised.to(output.device)
        if embedding.penalty is not None:
            loss = loss + embedding.penalty.mean()
        if self.discriminator is not None:
            self.discriminator.eval()
            with frozen(self.discriminator):
                evidence = self.discriminator.encode(bag)  # no gradient: the bag is given
                adversarial = head.adversarial_loss(
                    self.discriminator.judge(evidence, output[:, 0])
                )
            loss = loss + adversarial
            record.adversarial_loss = adversarial.item()
        self.optimiser.zero_grad()
        loss.backward()
        add_l1_gradient(self.network, self.l1)
        self.optimiser.step()

        record.loss = supervised.item()
        if not math.isfinite(record.loss):
            raise TrainingError(
                [
                    f"the loss became {record.loss}. Lower training.learning_rate, or set "
                    "training.standardise: true if the features are large."
                ]
            )
        if record.output is None:
            record.output = output.detach().cpu()

    def _noise(self, bag: Bag) -> Tensor:
        """Return fresh noise [B, 1, W], drawn on the CPU so that every device sees the same."""
        return self.network.head.noise(len(bag), 1, self.noise).to(bag.features.device)


def adam(module: nn.Module, learning_rate: float, weight_decay: float) -> Adam:
    """Return Adam with coupled L2 decay on tensors with more than one dimension only."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return Adam([group for group in groups if group["params"]], lr=learning_rate, fused=True)


@torch.no_grad()
def add_l1_gradient(module: nn.Module, weight: float) -> None:
    """Add the gradient of ``weight * sum |p|``; parameters outside the loss's graph shrink too."""
    if weight == 0:
        return
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.add_(parameter.sign(), alpha=weight)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep gradients out of a module's parameters; they still pass through it to its inputs."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
