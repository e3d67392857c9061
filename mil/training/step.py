"""One optimiser step on a window of bags: the discriminator's, then the network's.

A window comes as groups of packed bags. Each goes forward and backward by itself, so that memory
holds the activations of one, and the gradients add up to those of the whole window.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mil.annealing import Annealing
from mil.bag_loader import BagLoader, with_places
from mil.bags import Bag
from mil.discriminator import Discriminator
from mil.heads.base import Labels, Targets, labelled
from mil.models.base import Auxiliary
from mil.network import Network
from mil.nn.instance_linear import kept_products
from mil.nn.segments import at_least_single
from mil.survival.losses.adversarial import discriminator_loss
from mil.training.optimisers import (
    Lookahead,
    add_l1_gradient,
    build_optimiser,
    clip_gradients,
    clipped_parts,
)
from mil.training.settings import TrainingError

Window = BagLoader | Sequence[Bag]


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
    overflows: int = 0  # updates left out since gradients were too large for float16


class Stepper:
    """Take optimiser steps (Liu et al., AdvMIL, 2024; spec of the order of updates there).

    Parameters
    ----------
    network : model and head, AdvMIL's generator.
    discriminator : its opponent, or None.
    learning_rate, weight_decay : of the network's optimiser. The discriminator has Adam with the
        same rate, which stays, and no decay; what follows is the network's alone.
    l1 : weight of the sum of absolute parameters of the network.
    noise : generator of the head's noise.
    optimiser, betas : of the network, see ``build_optimiser``.
    lookahead : steps between those of the slow weights, see ``Lookahead``; 0 for none.
    clip_norm : norm that gradients are scaled down to; None for any. Those of parts that
        ``BagModel.clipped_apart`` names have a norm each.
    ema : decay, step by step, of an average of the network's parameters, which starts at those
        after the first step and is what is ``judged``; 0 for none. Buffers are the network's.
    annealing : schedules of the weights of the model's terms of the loss, by name; 1 without.
    precision : what model and discriminator compute in; parameters, heads and losses are float32.
        Losses in float16 are scaled up, so that small gradients are not lost, and an update whose
        gradients overflow is left out (Micikevicius et al., ICLR 2018).
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
        optimiser: str = "adam",
        betas: Sequence[float] = (0.9, 0.999),
        lookahead: int = 0,
        clip_norm: float | None = None,
        ema: float = 0.0,
        precision: torch.dtype = torch.float32,
        annealing: Mapping[str, Annealing] | None = None,
    ) -> None:
        self.device = next(network.parameters()).device
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == torch.float16)
        self.network = network
        self.discriminator = discriminator
        self.l1 = l1
        self.noise = noise
        self.annealing = annealing or {}
        self.steps = 0  # of the network's optimiser so far
        self.optimiser = build_optimiser(network, learning_rate, weight_decay, optimiser, betas)
        self.lookahead = Lookahead(network.parameters(), lookahead) if lookahead else None
        self.clip_norm, self.clipped = clip_norm, clipped_parts(network)
        self.averaged = None
        if ema:
            self.averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema))
        if discriminator is not None:
            self.discriminator_optimiser = build_optimiser(discriminator, learning_rate, 0.0)

    @property
    def judged(self) -> Network:
        """The network that is validated and kept: the average of its steps, if there is one."""
        return self.network if self.averaged is None else self.averaged.module

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on besides its window, and torch's generators."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "noise": self.noise.get_state(),
            "remembered": self.network.model.remembered(),
            "steps": self.steps,
        }
        if self.lookahead is not None:
            state["lookahead"] = self.lookahead.state_dict()
        if self.averaged is not None:
            state["averaged"] = self.averaged.state_dict()
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
            state["discriminator_optimiser"] = self.discriminator_optimiser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.noise.set_state(state["noise"])
        self.network.model.remember(state["remembered"])
        self.steps = state["steps"]
        if self.lookahead is not None:
            self.lookahead.load_state_dict(state["lookahead"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])

    def step(self, window: Window, labels: Labels | Targets) -> StepRecord:
        """Update on one window; a window without a usable event changes nothing.

        Parameters
        ----------
        window : the groups of packed bags; gone through several times.
        labels : of all patients of the window, in the order of the bags. One without labels gives
            a generated pair to the discriminator and the adversarial loss to the network, no more.
        """
        record = StepRecord()
        if not self.network.head.usable(labels):
            record.skipped = True
            return record
        with kept_products(self.network.model):  # its weights change at the end of this only
            if self.discriminator is not None:
                self.improve_discriminator(window, labels, record)
            self.improve_network(window, labels, record)
        for _ in range(1, self.network.head.updates):
            further = StepRecord()
            self.improve_network(window, labels, further)
            record.overflows += further.overflows
        return record

    def improve_discriminator(
        self, window: Window, labels: Labels | Targets, record: StepRecord
    ) -> None:
        """Teach the discriminator observed events from generated times; dropout off in G."""
        head = self.network.head
        kind = head.discriminator_loss
        # No gradient comes of a pair without an event; a NaN would get through all the same.
        observed, event = head.scaled(labels).nan_to_num(), labels.event
        seen, patients = max(int(event.sum()), 1), len(event)
        noise = self._noise(labels, draws=1)
        self.network.eval()
        self.discriminator.train()
        self.discriminator_optimiser.zero_grad()
        outputs, reals, fakes, total = [], [], [], 0.0
        for places, bag in self._groups(window):
            device = bag.features.device
            with self._mixed():
                with torch.no_grad():
                    output, _ = self.network(bag, noise[places].to(device))  # [b, 1]
                evidence = self.discriminator.encode(bag)
            fake = self.discriminator.judge(evidence, output[:, 0])  # [b]: censored ones too
            real = self.discriminator.judge(evidence, observed[places].to(device))
            real, none = real[event[places].to(device)], fake[:0]
            # The loss is a mean over all real pairs and one over all fake pairs of the window.
            loss = discriminator_loss(real, none, kind) * (len(real) / seen)
            loss = loss + discriminator_loss(none, fake, kind) * (len(fake) / patients)
            self.scaler.scale(loss).backward()
            total += loss.item()
            outputs.append(output.cpu())
            reals.append(real.detach())
            fakes.append(fake.detach())
        self._update(self.discriminator_optimiser, record)
        _refuse_undefined(total, "discriminator's loss")

        record.output = torch.cat(outputs)
        record.discriminator_loss = total
        record.fake_accuracy = (torch.cat(fakes) < 0).float().mean().item()
        if event.any():
            record.real_accuracy = (torch.cat(reals) > 0).float().mean().item()

    def improve_network(self, window: Window, labels: Labels | Targets, record: StepRecord) -> None:
        """Improve the network on its loss and, if it has an opponent, against it (in eval mode)."""
        head = self.network.head
        noise = self._noise(labels, head.training_draws)
        self.network.train()
        self.optimiser.zero_grad()
        model, known = self.network.model, int(labels.known.sum())
        slopes = None
        if head.compares_patients and len(window) > 1 and known:
            slopes, record.loss = self._slopes(window, labels, noise)
        outputs, supervised, opposed, seen = [], 0.0, 0.0, []
        for places, bag in self._groups(window):
            device = bag.features.device
            with self._mixed():
                output, embedding = self.network(bag, noise[places].to(device))
            share = len(bag) / len(labels)  # all terms but a comparing loss are means
            part = labels.at(places)
            loss = output.new_zeros(())
            if slopes is not None:  # its gradient is the loss's
                slope, of_auxiliary = slopes.popleft()
                loss = (output * slope.to(device)).sum()
                if of_auxiliary is not None:
                    logits = at_least_single(embedding.auxiliary.logits)
                    loss = loss + (logits * of_auxiliary.to(device)).sum()
            elif part.known.any():
                told = self._told(output.cpu(), _on_cpu(embedding.auxiliary), part)
                loss = (int(part.known.sum()) / known) * told.to(device)
                supervised += loss.item()
            for name, penalty in embedding.penalties.items():
                weight = share * self._weight(name)
                loss = loss + weight * at_least_single(penalty).mean()
            classes = head.classes(part).to(device)
            of_instances = model.instance_loss(embedding, bag, classes)
            if of_instances is not None:
                loss = loss + share * at_least_single(of_instances).mean()
            if self.discriminator is not None:
                self.discriminator.eval()
                with frozen(self.discriminator):
                    with self._mixed():
                        evidence = self.discriminator.encode(bag)  # no gradient: the bag is given
                    logits = self.discriminator.judge(evidence, output[:, 0])
                adversarial = share * head.adversarial_loss(logits)
                loss = loss + adversarial
                opposed += adversarial.item()
            if loss.requires_grad:  # patients without labels may have nothing to say
                self.scaler.scale(loss).backward()
            outputs.append(output.detach().cpu())
            if model.observes:
                seen.append((embedding.detached(), bag, classes))
        self.scaler.unscale_(self.optimiser)
        add_l1_gradient(self.network, self.l1)
        if self.clip_norm is not None:
            clip_gradients(self.clipped, self.clip_norm)
        moved = self._update(self.optimiser, record)
        self.steps += 1
        if moved and self.lookahead is not None:
            self.lookahead.step()
        for one in seen:
            model.observe(*one)
        if moved and self.averaged is not None:
            self.averaged.update_parameters(self.network)

        if slopes is None and known:
            record.loss = supervised
        if self.discriminator is not None:
            record.adversarial_loss = opposed
        if known:
            _refuse_undefined(record.loss, "loss")
        _refuse_undefined(opposed, "adversarial loss")
        if record.output is None:
            record.output = torch.cat(outputs)

    def _told(
        self, output: Tensor, auxiliary: Auxiliary | None, labels: Labels | Targets
    ) -> Tensor:
        """Return the loss of what labels say of outputs and auxiliary ones, all on the CPU."""
        head = self.network.head
        weight = self._weight("bag") * self.network.model.bag_weight
        loss = weight * head.loss(*labelled(output, labels))
        if auxiliary is not None:
            told = head.loss(*labelled(head.read(auxiliary.logits), labels.at(auxiliary.bag)))
            loss = loss + self._weight("auxiliary") * auxiliary.weight * told
        return loss

    def _slopes(
        self, window: Window, labels: Labels | Targets, noise: Tensor
    ) -> tuple[deque[tuple[Tensor, Tensor | None]], float]:
        """Return the gradient of a loss over all patients by every output, and the loss.

        For every group of the window there are the gradients by its outputs and by its auxiliary
        logits, if any. Random numbers are put back afterwards: the pass that follows has the same
        dropout, and so the same outputs.
        """
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(gpus), torch.no_grad(), self._mixed():
            outputs, others = [], []
            for places, bag in self._groups(window):
                output, embedding = self.network(bag, noise[places].to(self.device))
                outputs.append(output.cpu())
                if embedding.auxiliary is not None:
                    other = _on_cpu(embedding.auxiliary)
                    others.append(replace(other, bag=other.bag + places.start))
        output, auxiliary = torch.cat(outputs).requires_grad_(), None
        if others:
            logits = torch.cat([other.logits for other in others]).requires_grad_()
            bags = torch.cat([other.bag for other in others])
            auxiliary = Auxiliary(logits, bags, others[0].weight)
        loss = self._told(output, auxiliary, labels)
        sizes = [len(one) for one in outputs]
        if auxiliary is None:
            (slope,) = torch.autograd.grad(loss, output)
            return deque((one, None) for one in slope.split(sizes)), loss.item()
        slope, other = torch.autograd.grad(loss, (output, auxiliary.logits))
        parts = other.split([len(one.logits) for one in others])
        return deque(zip(slope.split(sizes), parts, strict=True)), loss.item()

    def _weight(self, term: str) -> float:
        """Return what a term of the loss weighs in this step, beside its own weight."""
        schedule = self.annealing.get(term)
        return 1.0 if schedule is None else schedule.weight(self.steps)

    def _mixed(self) -> torch.autocast:
        """Compute in the chosen precision what can be; what must not be stays in float32."""
        low = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision if low else None, enabled=low)

    def _update(self, optimiser: Optimizer, record: StepRecord) -> bool:
        """Take a step, unless gradients overflowed; return whether it was taken."""
        before = self.scaler.get_scale()
        self.scaler.step(optimiser)
        self.scaler.update()
        overflowed = self.scaler.get_scale() < before
        record.overflows += overflowed
        return not overflowed

    def _groups(self, window: Window) -> Iterator[tuple[slice, Bag]]:
        """Yield the groups as the network should see them, with the places of their patients."""
        for places, bag in with_places(window):
            yield places, self.network.scaled(bag)

    def _noise(self, labels: Labels | Targets, draws: int) -> Tensor:
        """Return fresh noise [B, S, W], drawn on the CPU so that every device sees the same."""
        return self.network.head.noise(len(labels), draws, self.noise)


def _on_cpu(auxiliary: Auxiliary | None) -> Auxiliary | None:
    """Return auxiliary outputs on the CPU, where losses are computed, in float32 or better."""
    if auxiliary is None:
        return None
    logits = at_least_single(auxiliary.logits).cpu()
    return replace(auxiliary, logits=logits, bag=auxiliary.bag.cpu())


def _refuse_undefined(value: float, name: str) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            [
                f"the {name} became {value}. Lower training.learning_rate, or set "
                "training.standardise: true if the features are large; with training.precision: "
                "float16, which ends at 65504, take bfloat16."
            ]
        )


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep gradients out of a module's parameters; they still pass through it to its inputs."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
