"""IIB-MIL."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention_encoder import EncoderLayer
from mil.nn.label_disambiguation import LabelDisambiguation
from mil.nn.post_norm import InstanceLayer, QueryLayer
from mil.nn.recompute import recomputed, recomputed_rows
from mil.nn.segments import bags_of
from mil.nn.tanh import Tanh
from mil.nn.token_layer import TokenLayer

FEED_FORWARD = 2048
STAGE_HEADS, QUERY_HEADS, QUERY_LAYERS = 2, 4, 2
ENCODERS = ("stages", "transformer")


@dataclass
class InstanceEmbedding(Embedding):
    """An embedding that also has what the instances became, [N, H]."""

    instances: Tensor | None = None

    def detached(self) -> "InstanceEmbedding":
        """Return vector, scores, instance logits and instances."""
        return InstanceEmbedding(
            self.vector.detach(),
            self.scores.detach(),
            instance_logits=self.instance_logits.detach(),
            instances=self.instances.detach(),
        )


class Stage(nn.Module):
    """Five layers with tanh, a transformer layer, and the features again.

    Shapes
    ------
    x [N, D] (the features, in the first stage) or [N, H], features [N, D], offsets [B + 1] ->
    [N, H].
    """

    def __init__(self, in_dim: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        widths = [width, 2 * hidden, 4 * hidden, 2 * hidden, 2 * hidden, hidden]
        layers = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), Tanh(), nn.LayerNorm(after)]
        self.layers = nn.Sequential(*layers)
        self.transformer = InstanceLayer(hidden, STAGE_HEADS, FEED_FORWARD, dropout)
        self.again = nn.Linear(in_dim, hidden)

    def forward(self, x: Tensor, features: Tensor, offsets: Tensor) -> Tensor:
        """Return [N, H]."""
        x = recomputed_rows(self.layers, x, wide=4)
        x = self.transformer(x, offsets)
        return x + self.again(features).relu()


class Stages(nn.ModuleList):
    """So many ``Stage``: features [N, D], offsets [B + 1] -> [N, H]."""

    def __init__(self, in_dim: int, hidden: int, count: int, dropout: float) -> None:
        widths = [in_dim] + [hidden] * (count - 1)
        super().__init__(Stage(in_dim, width, hidden, dropout) for width in widths)

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """Return [N, H]."""
        x = features
        for stage in self:
            x = stage(x, features, offsets)
        return x


class Transformer(nn.Module):
    """So many pre-norm layers and a LayerNorm: features [N, D], offsets [B + 1] -> [N, H]."""

    def __init__(self, in_dim: int, hidden: int, count: int, dropout: float) -> None:
        super().__init__()
        widths = [in_dim] + [hidden] * (count - 1)
        self.layers = nn.ModuleList(
            EncoderLayer(width, hidden, QUERY_HEADS, dropout=dropout, project=False, back=False)
            for width in widths
        )
        self.norm = nn.LayerNorm(hidden)

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """Return [N, H]."""
        x = features
        for layer in self.layers:
            x = recomputed(layer, x, offsets)
        return self.norm(x)


@register("iib_mil")
class IIBMIL(BagModel):
    r"""Integrated instance-level and bag-level MIL (Ren et al., MICCAI 2023).

    Instances go through stages: five layers :math:`\mathrm{LN}(\tanh(W x + b))` of widths 2 H, 4 H,
    2 H, 2 H and H, a post-norm transformer layer, and :math:`\mathrm{ReLU}(U x + u)` of the
    features added. Learnt queries look at what comes out in two post-norm decoder layers; side by
    side they are the vector. With ``encoder: transformer`` stages are pre-norm layers
    (``mil.nn.attention_encoder``, 4 heads) and a last LayerNorm, and the queries take part in one
    more (``mil.nn.token_layer``); with one of each, that is torchmil's.

    Beside the head, a classifier :math:`V\, \mathrm{LN}(e_n)` of instances learns labels that
    become clear in training, see ``mil.nn.label_disambiguation``.

    Heads that know no classes (times, risks) train the queries alone. Published are
    two classes and no code of the training: the weight of the instances' loss is open.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width H of instances, a multiple of 4.
    stages : how many.
    queries : Q.
    dropout : in transformer and decoder layers.
    instance_weight : of the instances' loss.
    warmup : how often a bag is seen (its epochs) before that loss begins.
    momentum : of the confidence in labels.
    normalised : compare instances and prototypes by direction; in the reference, by product.
    encoder : ``stages`` or ``transformer``.
    outputs : number of outputs of the head, C; one output is of two classes.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, Q H],
    instance_logits [N, max(C, 2)], scores [N].

    Notes
    -----
    The score is the logarithm of what the last layer's queries and heads give an instance, on
    average. Prototypes are improved with the bags that went through the network together, which
    need not be all of a step. Confidences take 4 C bytes an instance of the training part.

    Time grows with N^2, memory with N: above what bag and PyTorch hold, training on a CPU takes 1.7
    GB for 16,384 instances of width 1024 (preset ``torchmil``: 0.5) and 6.9 GB for 100,000, which
    take 63 minutes of a core.

    Elsewhere the prototype of class 0 gets the most positive instances, so that labels come out
    inverted, or prototypes are never updated and every instance becomes negative. Of torchmil the
    preset has the layers, no such labels; torchmil has 262,912 parameters more that do nothing.
    """

    instances_are: ClassVar[str] = "classes"
    observes: ClassVar[bool] = True
    presets: ClassVar = {
        "paper": Preset(
            {"normalised": False},
            {
                "optimiser": "adamw",
                "learning_rate": 1e-5,
                "weight_decay": 1e-5,
                "l1": 0.0,
                "clip_norm": 0.01,
                "schedule": "constant",
                "epochs": 300,
                "patience": 300,
                "window": 16,
            },
        ),
        "torchmil": Preset(
            {"encoder": "transformer", "stages": 1, "queries": 1, "dropout": 0.0},
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "epochs": 50,
                "window": 1,
                "l1": 0.0,
            },
        ),
    }

    def __init__(
        self,
        in_dim: int,
        hidden: int = 256,
        stages: int = 3,
        queries: int = 5,
        dropout: float = 0.1,
        instance_weight: float = 1.0,
        warmup: int = 10,
        momentum: float = 0.99,
        normalised: bool = True,
        encoder: str = "stages",
        *,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.check("encoder", encoder, ENCODERS)
        self.out_dim, self.instance_weight = queries * hidden, instance_weight
        form = Stages if encoder == "stages" else Transformer
        self.stages = form(in_dim, hidden, stages, dropout)
        classes = max(outputs, 2)
        self.classify = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, classes))
        self.queries = nn.Parameter(torch.randn(queries, hidden))
        self.decoder = nn.ModuleList(
            [TokenLayer(hidden, QUERY_HEADS)]
            if encoder == "transformer"
            else [QueryLayer(hidden, QUERY_HEADS, 2 * hidden, dropout) for _ in range(QUERY_LAYERS)]
        )
        self.labels = LabelDisambiguation(classes, hidden, momentum, warmup, normalised)

    def forward(self, bag: Bag) -> InstanceEmbedding:
        """Return vector [B, Q H], scores [N], instance logits [N, C] and instances [N, H]."""
        e = self.stages(bag.features, bag.offsets)  # [N, H]
        vectors, scores = [], []
        for instances in bags_of(e, bag.offsets):
            t = self.queries.to(e.dtype)
            for layer in self.decoder:
                t, weights = layer(t, instances)  # [Q, H], [heads, Q, n]
            vectors.append(t.flatten())
            share = weights.detach().float().mean((0, 1))
            scores.append(share.clamp(min=torch.finfo(share.dtype).tiny).log())
        return InstanceEmbedding(
            torch.stack(vectors),
            torch.cat(scores),
            instance_logits=self.classify(e),
            instances=e,
        )

    def instance_loss(self, embedding: Embedding, bag: Bag, classes: Tensor) -> Tensor:
        """Return the weighted loss [B] of instances, 0 where a bag's class is unknown."""
        return self.instance_weight * self.labels.loss(embedding.instance_logits, bag, classes)

    @torch.no_grad()
    def observe(self, embedding: InstanceEmbedding, bag: Bag, classes: Tensor) -> None:
        """Improve prototypes and confidences by bags with a class."""
        self.labels.learn(embedding.instances, embedding.instance_logits, bag, classes)

    def remembered(self) -> dict[str, Any]:
        """Return what ``observe`` knows of bags, for a checkpoint."""
        return self.labels.remembered()

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take over what ``remembered`` returned."""
        self.labels.remember(state)
