"""DSMIL: a stream that classifies instances shows the other where to look."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from mil.bags import Bag
from mil.models import register
from mil.models.base import Auxiliary, BagModel, Embedding, Preset
from mil.nn.dropout import Dropout
from mil.nn.initialise import orthogonal_linear_
from mil.nn.instance_linear import InstanceLinear
from mil.nn.segments import bag_softmax, bags_of, joined, segment_argmax, segment_pool
from mil.nn.tanh import Tanh


@register("dsmil")
class DSMIL(BagModel):
    r"""Dual-stream MIL (Li, Li and Eliceiri, CVPR 2021).

    .. math::

        c_n = W x_n + b, \qquad m_k = \arg\max_n c_{nk}, \qquad
        U_{nk} = \mathrm{softmax}_n \frac{q(x_n)^\top q(x_{m_k})}{\sqrt{Q}}, \qquad
        z_k = \sum_n U_{nk}\, v(x_n)

    with q two layers (ReLU, then tanh) or one, and v the identity or a layer. The vector is
    :math:`[z_1, \ldots, z_C]`, so a linear head on it is the published bag stream, in which every
    class sees all z. Half the loss is the head's, the other half the same loss of the critical
    instances' own outputs :math:`\max_n c_{nk}`. Which instance is critical carries no gradient.

    All weights start orthogonal and all biases at 0, as published: other starts more often end with
    the same attention everywhere. Training and prediction say so where it did. Then let the
    instances learn first: ``training: {warmup: 5, annealing: {bag: {from: 0, to: 1, steps: 1,
    warmup: 500}}}`` leaves the vector's loss out for 500 steps.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    query : width Q of q.
    nonlinear : q has two layers (default of the authors' script), or one linear layer.
    value : v is dropout, a layer D -> D and ReLU; the authors never switch it on.
    dropout : of v.
    bag_weight, instance_weight : of the loss of the vector and of the critical instances.
    average : predict the mean of both streams, as one of the authors' scripts does: of classes the
        mean of the probabilities, whose spread is then half their difference; of survival the mean
        of what the head gives out. Training and contributions stay as they are.
    outputs : number of outputs, C. Classes are the positive ones: two classes have one output.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, C D],
    instance_logits c [N, C], class_scores [N, C]: the raw scores before the softmax, and scores
    [N]: the largest of them.

    Notes
    -----
    Time and memory grow with N C. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024 peaks at 1.0 GB in training with one output (preset ``torchmil``).

    Elsewhere padding can become the critical instance, both losses have weight 1, or logits of the
    streams are averaged. The ``paper`` preset stops by the validation loss, the authors by accuracy
    and AUC.
    """

    label_terms: ClassVar[tuple[str, ...]] = ("bag", "auxiliary")
    may_collapse: ClassVar[bool] = True
    presets: ClassVar = {
        "paper": Preset(
            {},
            {
                "learning_rate": 1e-4,
                "betas": [0.5, 0.9],
                "schedule": "cosine",
                "cosine_floor": 5e-6,
                "weight_decay": 1e-3,
                "epochs": 50,
                "patience": 10,
                "warmup": 0,
                "window": 1,
                "l1": 0.0,
            },
        ),
        "torchmil": Preset(
            {"nonlinear": False, "bag_weight": 1.0, "instance_weight": 1.0},
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
        query: int = 128,
        nonlinear: bool = True,
        value: bool = False,
        dropout: float = 0.0,
        bag_weight: float = 0.5,
        instance_weight: float = 0.5,
        average: bool = False,
        *,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.classify = InstanceLinear(in_dim, outputs)
        self.query = nn.Sequential(InstanceLinear(in_dim, query))
        if nonlinear:
            self.query.extend([nn.ReLU(), nn.Linear(query, query), Tanh()])
        self.value = nn.Identity()
        if value:
            self.value = nn.Sequential(Dropout(dropout), nn.Linear(in_dim, in_dim), nn.ReLU())
        self.bag_weight, self.instance_weight = bag_weight, instance_weight
        self.average = average
        self.out_dim = outputs * in_dim
        orthogonal_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, C D], class_scores and instance_logits [N, C], scores [N]."""
        c = self.classify(bag.features)  # [N, C]
        critical = segment_argmax(c.detach(), bag.offsets)  # [B, C]
        scores = self._likeness(bag.features, critical, bag.offsets)  # [N, C]
        weights = bag_softmax(scores, bag.offsets)
        v = self.value(bag.features)  # [N, D]
        z = segment_pool(weights, v, bag.offsets)  # [B, C, D]
        bags = torch.arange(len(bag), device=c.device)
        of_critical = c.gather(0, critical)  # [B, C]
        auxiliary = Auxiliary(of_critical, bags, self.instance_weight, self.average)
        return Embedding(
            self.after_pooling(z),
            scores.amax(1),
            instance_logits=c,
            class_scores=scores,
            pooled=v,
            auxiliary=auxiliary,
        )

    def _likeness(self, x: Tensor, critical: Tensor, offsets: Tensor) -> Tensor:
        r"""Return how like instances [N, D] are to the critical ones [B, C] of their bag: [N, C].

        Queries of one linear layer are made of the critical instances alone, since
        :math:`q(x)^\top q_k = x^\top (W^\top q_k) + b^\top q_k`: O(N C D) instead of O(N Q D).
        """
        if len(self.query) > 1:
            return _Likeness.apply(self.query(x), critical, offsets)
        layer = self.query[0]
        q = linear(x[critical], layer.weight, layer.bias) / layer.out_features**0.5  # [B, C, Q]
        towards, shift = q @ layer.weight, q @ layer.bias  # [B, C, D], [B, C]
        bags = zip(shift, bags_of(x, offsets), towards, strict=True)
        return joined([torch.addmm(s, one, t.T) for s, one, t in bags])

    def after_pooling(self, average: Tensor) -> Tensor:
        """Return the averages [B, C, D] of the classes, one behind the other: [B, C D]."""
        return average.flatten(1)


class _Likeness(torch.autograd.Function):
    """Products [N, C] of queries [N, Q] with those of their bag's critical instances [B, C].

    Bag by bag, since all critical queries beside all instances would be [N, C, Q]; the gradient of
    the critical ones is added in their rows.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, critical: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(q, critical, offsets)
        of_bags = zip(bags_of(q, offsets), critical, strict=True)
        return joined([one @ q[rows].T for one, rows in of_bags]) / q.shape[1] ** 0.5

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        q, critical, offsets = ctx.saved_tensors
        grad = grad.to(q.dtype) / q.shape[1] ** 0.5
        of_q = torch.empty_like(q)
        bags = (bags_of(x, offsets) for x in (q, grad, of_q))
        for one, g, its, rows in zip(*bags, critical, strict=True):
            torch.mm(g, q[rows], out=its)
            of_q.index_add_(0, rows, g.T @ one)
        return of_q, None, None
