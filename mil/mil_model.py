"""Any model with any head, called with padded bags, as a library."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.data.padding import mask_of, packed, spread
from mil.heads import HEADS
from mil.heads.base import Estimate, Labels, Prediction, Probabilities, Targets, labelled
from mil.models import find_preset
from mil.models.base import Embedding
from mil.network import Network, build_network
from mil.nn.segments import at_least_single, bag_softmax
from mil.problems import InputError
from mil.seeds import seed_for


@dataclass(frozen=True)
class Output:
    """What a network says of a padded batch, with a gradient.

    What it says of instances is put into rows of the batch when it is asked for.

    Attributes
    ----------
    logits : [B, C], the head's raw output; of random attention [B, M, C], for each draw.
    losses : terms of the training loss by name, weighted: to learn, descend on their sum. Empty
        without ``Y``.
    embedding : what else the model says, in rows of the packed bag.
    scores_are : ``attention`` or ``evidence``, see ``BagModel``.
    offsets : [B + 1], where bags begin in the packed bag.
    mask : [B, N], where instances are in the batch; None: at the beginning of each row.
    """

    logits: Tensor
    losses: dict[str, Tensor]
    embedding: Embedding
    scores_are: str
    offsets: Tensor
    mask: Tensor | None

    @cached_property
    def _places(self) -> Tensor:
        return mask_of(self.offsets) if self.mask is None else self.mask

    @cached_property
    def att(self) -> Tensor:
        """Raw scores of instances [B, N], or [B, N, C] of a model with a branch for each class.

        Padding has -inf.
        """
        of_classes = self.embedding.class_scores
        raw = self.embedding.scores if of_classes is None else of_classes
        return spread(raw, self._places, -torch.inf)

    @cached_property
    def scores(self) -> Tensor:
        """Attention [B, N] that sums to 1 over a bag, or evidence as it is; padding has 0."""
        scores = at_least_single(self.embedding.scores)
        if self.scores_are == "attention":
            scores = bag_softmax(scores, self.offsets)
        return spread(scores, self._places, 0)

    @cached_property
    def inst_logits(self) -> Tensor | None:
        """Logits [B, N, C] of a model that classifies instances, else None; padding has 0."""
        logits = self.embedding.instance_logits
        return None if logits is None else spread(logits, self._places, 0)

    @property
    def loss(self) -> Tensor:
        """The sum of the losses.

        Raises
        ------
        mil.problems.InputError : there is none.
        """
        if not self.losses:
            raise InputError(["no loss: no bag has a label. Give Y, one known at least."])
        return reduce(add, self.losses.values())


@dataclass(frozen=True)
class Predicted:
    """What a network predicts of the B bags of a padded batch.

    Attributes
    ----------
    bags : of a head of classes ``bags.probability`` [B, C]; of survival ``bags.risk`` [B] and more.
    scores : [B, N] of the instances, normalised: see ``Output``.
    """

    bags: Prediction | Probabilities | Estimate
    scores: Tensor


class MILModel(nn.Module):
    """A network on padded bags: ``model(X=X, mask=mask, Y=Y).loss.backward()``.

    Padding is left out before anything is computed, so what it contains changes nothing.

    Parameters
    ----------
    network : a model with its head.
    seed : of the noise of heads that draw; in evaluation the same at every call.
    """

    def __init__(self, network: Network, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        self.seed = seed
        self._noise = torch.Generator().manual_seed(seed_for(seed, "noise"))

    @classmethod
    def build(
        cls,
        model: str,
        in_dim: int,
        *,
        classes: int | None = None,
        head: str = "classes",
        fitted: Mapping[str, Any] | None = None,
        head_options: Mapping[str, Any] | None = None,
        preset: str | None = None,
        seed: int = 0,
        **options: Any,
    ) -> "MILModel":
        """Return a new model by the names of its parts.

        Parameters
        ----------
        model : name of a registered model.
        in_dim : width of the features.
        classes : how many there are, for the heads ``classes`` and ``ordinal``.
        head : name of a registered head.
        fitted : what the head's ``fit`` returned for the training labels; by default that for one
            label of each class.
        head_options : of the head.
        preset : a published form of the model; ``options`` win over its own.
        options : of the model.

        Raises
        ------
        mil.problems.InputError : an unknown name, or a head that has to be fitted.
        """
        if fitted is None:
            fitted = {} if classes is None else _of_each_class(head, classes, head_options or {})
        if preset is not None:
            options = {**find_preset(model, preset).options, **options}
        experiment = {
            "model": model,
            "head": head,
            "model_options": options,
            "head_options": head_options,
        }
        try:
            return cls(build_network(experiment, in_dim, fitted, standardise=False), seed)
        except KeyError as missing:
            raise InputError(
                [
                    f"head {head!r}: its {missing.args[0]} are not known. Say how many classes "
                    "there are (classes=2), or give what it fits on the training labels "
                    f"(fitted=HEADS.find({head!r}).fit(...))."
                ]
            ) from missing

    def forward(self, **batch: Any) -> Output:
        """Return logits, scores and losses of a padded batch.

        Parameters
        ----------
        X, mask, adj, coords, ... : by keyword, see ``mil.data.padding``.
        Y : [B], class or number of the bag; [B, K] of several labels; [B, 2] time and event for a
            head of survival. NaN where unknown.

        Raises
        ------
        mil.bags.BagError : see ``mil.data.padding.packed``.
        """
        bag = packed(batch)
        mask = batch.get("mask")
        if mask is None:
            mask = torch.ones(batch["X"].shape[:2], device=batch["X"].device)
        return self.of_bag(bag, mask.bool())

    def of_bag(self, bag: Bag, mask: Tensor | None = None) -> Output:
        """Return what the network says of packed bags.

        Parameters
        ----------
        bag : with its ``label``, if any, as ``Y`` of ``forward``.
        mask : [B, N], where the instances of the bags are in what is returned; by default at the
            beginning of each row.
        """
        bag = self.network.scaled(bag)
        generator = self._noise
        if not self.training:
            generator = torch.Generator().manual_seed(seed_for(self.seed, "evaluation"))
        draws = self.network.head.training_draws
        noise = self.network.head.noise(len(bag), draws, generator).to(bag.features.device)
        output, embedding = self.network(bag, noise)
        return Output(
            logits=output,
            losses={} if bag.label is None else self._losses(output, embedding, bag),
            embedding=embedding,
            scores_are=self.network.model.scores_are,
            offsets=bag.offsets,
            mask=mask,
        )

    @torch.no_grad()
    def predict(self, **batch: Any) -> Predicted:
        """Return predictions and normalised scores of a padded batch, in evaluation mode.

        Parameters
        ----------
        X, mask, adj, coords, ... : as of ``forward``; ``Y`` is not read.
        """
        training = self.training
        self.eval()
        try:
            output = self(**{key: value for key, value in batch.items() if key != "Y"})
        finally:
            self.train(training)
        return Predicted(self.network.head.predict(output.logits.cpu()), output.scores)

    def _losses(self, output: Tensor, embedding: Embedding, bag: Bag) -> dict[str, Tensor]:
        """Return the terms that a step of the training adds up (``mil.training.step``)."""
        model, head = self.network.model, self.network.head
        labels = self._labels(bag.label)
        losses, known = {}, bool(labels.known.any())
        if known:
            told = head.loss(*labelled(output.cpu(), labels))
            losses["bag"] = model.bag_weight * told.to(output.device)
        auxiliary = embedding.auxiliary
        if auxiliary is not None and known:
            outputs = head.read(at_least_single(auxiliary.logits)).cpu()
            told = head.loss(*labelled(outputs, labels.at(auxiliary.bag.cpu())))
            losses["auxiliary"] = auxiliary.weight * told.to(output.device)
        for name, penalty in embedding.penalties.items():
            losses[name] = at_least_single(penalty).mean()
        classes = head.classes(labels).to(output.device)
        of_instances = model.instance_loss(embedding, bag, classes)
        if of_instances is not None:
            losses["instances"] = at_least_single(of_instances).mean()
        return losses

    def _labels(self, label: Tensor) -> Labels | Targets:
        value = label.detach().cpu().double()
        if self.network.head.task != "survival":
            return Targets(value)
        if value.ndim != 2 or value.shape[1] != 2:
            raise InputError(
                [
                    f"Y is {list(label.shape)}; head {self.network.head.name!r} reads time and "
                    "event, so it must be [bags, 2]."
                ]
            )
        return Labels(value[:, 0], value[:, 1] > 0)


def _of_each_class(head: str, classes: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a head fits on labels of which there is one of each class."""
    names = [str(number) for number in range(classes)]
    return HEADS.find(head).fit(np.arange(classes, dtype=float), classes=names, **options)
