"""What is trained and stored: feature scaling, model and head."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.heads import HEADS, build_head
from mil.models import build_model
from mil.models.base import Embedding
from mil.nn.segments import at_least_single


class FeatureScaling(nn.Module):
    """``(x - mean) / scale`` with values fitted on the training part; neutral until then."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def set(self, mean: Tensor, scale: Tensor) -> None:
        """Take over mean [D] and standard deviation [D]; constant features are only shifted."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled features [N, D]."""
        return (features - self.mean) / self.scale


class Network(nn.Module):
    """A model with a head on it.

    Parameters
    ----------
    model : a ``BagModel``.
    head : a ``Head`` on its embedding.
    scaling : of the features, or None to take them as they are.
    """

    def __init__(self, model: nn.Module, head: nn.Module, scaling: FeatureScaling | None) -> None:
        super().__init__()
        self.scaling = scaling
        self.model = model
        self.head = head

    def scaled(self, bag: Bag) -> Bag:
        """Return the bag as the model (and a discriminator) should see it."""
        if self.scaling is None:
            return bag
        return replace(bag, features=self.scaling(bag.features))

    def forward(self, bag: Bag, noise: Tensor) -> tuple[Tensor, Embedding]:
        """Return the head's raw output and the embedding of a scaled bag.

        Whatever precision the model runs in, the head, small as it is, has at least float32: its
        output is a time or a risk. Of a model with random attention, a head that is one ``linear``
        layer tells an output [B, M, C] for each of the M draws; another sees their mean. In
        evaluation, auxiliary outputs that predict too are one more draw for such a head; of
        another the mean is taken.
        """
        embedding = self.model(bag)
        vector = at_least_single(embedding.vector)
        with torch.autocast(vector.device.type, enabled=False):
            if embedding.samples is not None and hasattr(self.head, "linear"):
                return self.head.read(self._drawn(embedding, bag.offsets)), embedding
            output = self.head(vector, noise)
            other = embedding.auxiliary
            if other is not None and other.predicts and not self.training:
                output = self._both(output, self.head.read(at_least_single(other.logits)))
            return output, embedding

    @torch.no_grad()
    def instance_probability(self, embedding: Embedding) -> Tensor | None:
        """Return how probable each class of the head is for instances by themselves, [N, C].

        None of a model that classifies no instances or has activations only, of a head without
        classes, and of labels that do not exclude each other where the model's own classifiers
        learn none of them.
        """
        logits, names = embedding.instance_logits, getattr(self.head, "names", None)
        if logits is None or names is None:
            return None
        logits, kind = at_least_single(logits).cpu(), self.model.instances_are
        if kind == "outputs":
            return torch.from_numpy(self.head.predict(self.head.read(logits)).probability)
        untaught = getattr(self.head, "several", False) or logits.shape[1] != len(names)
        if kind == "activations" or untaught:
            return None
        return logits.softmax(1) if kind == "classes" else logits.sigmoid()

    def _both(self, output: Tensor, other: Tensor) -> Tensor:
        """Return the outputs of two streams: [B, 2, C] for a linear head, otherwise their mean."""
        if hasattr(self.head, "linear"):
            return torch.stack([output, other], 1)
        return (output + other) / 2

    def _drawn(self, embedding: Embedding, offsets: Tensor) -> Tensor:
        """Return logits [B, M, C] of every draw of the attention.

        A linear layer and an average commute: logits of instances are averaged, O(N M C), and no
        vector [B, M, H] is made.
        """
        sizes = offsets.diff().tolist()
        logits = self.head.linear(at_least_single(embedding.pooled)).split(sizes)  # [n, C] each
        samples = embedding.samples.split(sizes)
        return torch.stack([s.T @ one for s, one in zip(samples, logits, strict=True)])


def build_network(
    experiment: Mapping[str, Any], in_dim: int, fitted: Mapping[str, Any], standardise: bool
) -> Network:
    """Build the network of an experiment.

    Parameters
    ----------
    experiment : with ``model``, ``head`` and, if any, ``model_options`` and ``head_options``.
    in_dim : width of the features.
    fitted : what the head fitted on the training part.
    standardise : whether features are scaled.
    """
    head_class = HEADS.find(experiment["head"])
    model = build_model(
        experiment["model"],
        in_dim,
        outputs=head_class.outputs(fitted),
        **experiment.get("model_options") or {},
    )
    options = experiment.get("head_options") or {}
    head = build_head(experiment["head"], model.out_dim, dict(fitted), **options)
    if model.gives_outputs:
        head.take_outputs(model.name)
    return Network(model, head, FeatureScaling(in_dim) if standardise else None)
