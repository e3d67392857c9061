"""What every model is: a function from a bag to an embedding. It never knows what is predicted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from mil.bags import Bag
from mil.problems import did_you_mean
from mil.registry import UnknownNameError


@dataclass
class Auxiliary:
    """Outputs besides those of the head that shall fit the labels of bags too.

    Shapes
    ------
    logits [M, C]: in the place of the head's last layer. bag [M]: whose label each shall fit.

    Attributes
    ----------
    weight : of the head's loss of these outputs, a mean over all M.
    predicts : in evaluation the prediction is the mean of the head's and of these, one a bag.
    """

    logits: Tensor
    bag: Tensor
    weight: float
    predicts: bool = False


@dataclass
class Embedding:
    """What a model says of B bags with N instances together.

    Shapes
    ------
    vector [B, H]: what a head predicts from. scores [N]: raw instance scores (see
    ``BagModel.scores_are``). penalties: the model's own terms of the training loss by name, each
    [B] and weighted already. instance_logits [N, C]: of a model that classifies instances.
    class_scores [N, C]: raw attention of a model with a branch a class; scores then hold the
    largest. pooled [N, H]: what the softmax of the scores, or of each branch, averages before
    ``BagModel.after_pooling`` makes it the vector; ``mil.contributions`` follow from it. samples
    [N, M]: of models whose attention is random, M draws of its weights on pooled. auxiliary:
    further outputs.
    """

    vector: Tensor
    scores: Tensor
    penalties: dict[str, Tensor] = field(default_factory=dict)
    instance_logits: Tensor | None = None
    class_scores: Tensor | None = None
    pooled: Tensor | None = None
    samples: Tensor | None = None
    auxiliary: Auxiliary | None = None

    def spread(self) -> Tensor | None:
        """Return the standard deviation [N] of random attention over its draws, if it is random."""
        return None if self.samples is None else self.samples.std(1, correction=0)

    def detached(self) -> "Embedding":
        """Return what ``BagModel.observe`` may look at: vector, scores and instance logits."""
        logits = None if self.instance_logits is None else self.instance_logits.detach()
        pooled = None if self.pooled is None else self.pooled.detach()
        return Embedding(
            self.vector.detach(), self.scores.detach(), instance_logits=logits, pooled=pooled
        )


@dataclass(frozen=True)
class Preset:
    """A published form of a model.

    Attributes
    ----------
    options : of the model's constructor.
    training : settings of the training by their names in the configuration.
    """

    options: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)


class BagModel(nn.Module):
    """Base of all models.

    A model that has a part for each output of the head takes their number as ``outputs``.

    Attributes
    ----------
    out_dim : width H of the embedding; every model sets it.
    needs : what it reads of a bag besides features: ``"graph"``, ``"cluster"``, ``"coords"``.
    reads_regions : rows ``16k .. 16k+15`` of its bags must be the regions of a slide.
    order_free : reordering a bag's instances (its regions and the instances inside each, for a
        model that reads regions) leaves its vector unchanged.
    scores_are : ``attention``, whose softmax over a bag says how much an instance counts, or
        ``evidence``, which is read as it is.
    instances_are : what its logits of instances are: ``outputs``, as the head's of a bag;
        ``classes``, whose softmax is their probability; ``members``, with a sigmoid each; or
        ``activations``, of which the order alone says something.
    gives_outputs : its vector [B, C] already is what the head's last layer would give, and what
        the head makes of it is all that follows (``mil.heads.base.Head.take_outputs``).
    observes : ``observe`` does something.
    penalties : names of those in its embeddings, which ``training.annealing`` may weigh.
    label_terms : terms of the loss besides, that it may weigh: ``bag``, the head's loss on the
        vector, and ``auxiliary``, that of further outputs.
    clipped_apart : names of parts that ``training.clip_norm`` clips by themselves, several names a
        part.
    may_collapse : its attention is known to end the same everywhere, which is looked for then
        (``mil.alarms.collapse_alarms``).
    bends : ``after_pooling`` is not linear.
    bag_weight : weight of the head's loss on the vector, beside that of other terms.
    presets : published forms by name, ``paper`` and ``torchmil``.
    """

    name: str
    out_dim: int
    needs: ClassVar[tuple[str, ...]] = ()
    reads_regions: ClassVar[bool] = False
    order_free: ClassVar[bool] = True
    scores_are: ClassVar[str] = "attention"
    instances_are: ClassVar[str] = "outputs"
    gives_outputs: ClassVar[bool] = False
    observes: ClassVar[bool] = False
    penalties: ClassVar[tuple[str, ...]] = ()
    label_terms: ClassVar[tuple[str, ...]] = ()
    clipped_apart: ClassVar[tuple[tuple[str, ...], ...]] = ()
    may_collapse: ClassVar[bool] = False
    bends: bool = False
    bag_weight: float = 1.0
    presets: ClassVar[Mapping[str, Preset]] = {}

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of all that ``training.annealing`` may weigh."""
        return (*self.label_terms, *self.penalties)

    def check(self, key: str, value: Any, allowed: Iterable[str]) -> None:
        """Refuse a value of an option that is not among those allowed.

        Raises
        ------
        UnknownNameError : the sentence names the nearest.
        """
        allowed = list(allowed)
        if value not in allowed:
            hint = did_you_mean(value, allowed) or "."
            raise UnknownNameError(
                [f"model {self.name!r}: {key} is {value!r}{hint} Known: {', '.join(allowed)}."]
            )

    def forward(self, bag: Bag) -> Embedding:
        """Return the embedding of each bag."""
        raise NotImplementedError

    def after_pooling(self, average: Tensor) -> Tensor:
        """Return the vector [B, H] of the average [B, H] of what the attention pools.

        It is the vector itself, unless the model has layers between the two. Of C branches the
        averages are [B, C, H].
        """
        return average

    def instance_loss(self, embedding: Embedding, bag: Bag, classes: Tensor) -> Tensor | None:
        """Return the weighted loss [B] of instances, or None for a model without.

        Parameters
        ----------
        embedding : of the bag, from ``forward``.
        classes : [B] int64, what class each bag is of, -1 where that is unknown.
        """
        return None

    def observe(self, embedding: Embedding, bag: Bag, classes: Tensor) -> None:
        """Take note of bags after the step they were part of; for what is not learnt by descent."""

    def remembered(self) -> dict[str, Any]:
        """Return what ``observe`` noted besides buffers: tensors and plain values, by name.

        A training that was killed goes on from it; the trained model does without.
        """
        return {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take over what ``remembered`` returned."""
