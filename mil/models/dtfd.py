"""DTFD-MIL: pseudo-bags teach a first tier, and what it distils teaches a second."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import Auxiliary, BagModel, Embedding, Preset
from mil.nn.attention import AttentionPool
from mil.nn.initialise import xavier_linear_
from mil.nn.instance_linear import InstanceLinear
from mil.nn.segments import (
    at_least_single,
    bag_softmax,
    segment_ids,
    segment_rank,
    weighted_sum,
)
from mil.seeds import seed_for

DISTILLED = ("afs", "maxs", "maxmins", "mas")
SMALLEST = 1e-30
"""What is taken for the weight of an instance without any, to have a logarithm."""


@register("dtfd")
class DTFD(BagModel):
    r"""Double-tier feature distillation (Zhang et al., CVPR 2022).

    A bag is dealt out at random into G pseudo-bags. With h the reduced features, in pseudo-bag g:

    .. math::

        s = \mathrm{softmax}_{n \in g}\, f_1(h_n), \qquad z_g = \sum_{n \in g} s_n h_n, \qquad
        t_g = W z_g + b, \qquad p_n = \mathrm{softmax}(W s_n h_n)_C

    The first tier's outputs t shall fit the bag's label as the head's do. It passes on, of each
    pseudo-bag, ``afs``: :math:`z_g`; ``maxs``: h of the r instances of the highest p; ``maxmins``:
    of the r highest and the r lowest; ``mas``: of the highest s. Over these features the second
    tier has an attention of its own, whose sum is the vector. Features are passed on without
    gradient, as in the authors' training: the vector's loss teaches the second tier alone.

    A bag's vector is a weighted sum of its h in all cases; the scores are the logarithms of the
    weights, so that their softmax is the model's whole attention.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of h and of the bag embedding, H; None for h = x.
    attention : width of both attentions.
    residual : number of blocks ``h + ReLU(W2 ReLU(W1 h))`` after the reduction.
    groups : G; a bag of fewer instances has as many pseudo-bags as instances.
    distil : ``afs``, ``maxs``, ``maxmins`` or ``mas``.
    instances : r.
    joint : let the second tier's loss reach the first.
    gated : have the sigmoid gate in both attentions.
    groupings : J groupings in evaluation, whose predictions are averaged (of classes the
        probabilities).
    seed : of the groupings in evaluation, which follow from it and the bag's name.
    outputs : number of outputs, C. With one, p is :math:`W s_n h_n` itself.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, H], scores [N],
    instance_logits :math:`W s_n h_n` [N, C] (class activation), pooled h [N, H] and, with J > 1,
    samples [N, J]. Time and memory grow with N.

    Notes
    -----
    Instances are dealt out by their place in the bag, so another order is another grouping.
    The authors' two optimisers have the same rate, and no parameter learns from both losses, so one
    optimiser is the same. Gradients are clipped as theirs: of reduction, first attention, first
    classifier and second tier (with the head) each. The ``paper`` preset chooses among the last
    fifth of the epochs by the validation loss, the authors by AUC. torchmil has no reduction, 8
    pseudo-bags and no gates, and means to pass on the highest and the lowest, all of which its
    preset has. What it passes on is every instance, so that its second tier is one attention over
    the whole bag; it reads p from h instead of s h, and its evaluation is random. These are not in
    the preset.
    """

    order_free: ClassVar[bool] = False
    label_terms: ClassVar[tuple[str, ...]] = ("bag", "auxiliary")
    clipped_apart: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("reduce", "blocks"),
        ("first",),
        ("classify",),
    )
    instances_are: ClassVar[str] = "activations"
    presets: ClassVar = {
        "paper": Preset(
            {},
            {
                "learning_rate": 1e-4,
                "weight_decay": 1e-4,
                "clip_norm": 5.0,
                "schedule": "steps",
                "step_epochs": [100],
                "step_factor": 0.2,
                "epochs": 200,
                "warmup": 160,
                "patience": 40,
                "window": 1,
                "l1": 0.0,
            },
        ),
        "torchmil": Preset(
            {"hidden": None, "groups": 8, "distil": "maxmins", "gated": False},
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
        hidden: int | None = 512,
        attention: int = 128,
        residual: int = 0,
        groups: int = 4,
        distil: str = "afs",
        instances: int = 1,
        joint: bool = False,
        gated: bool = True,
        groupings: int = 1,
        seed: int = 0,
        *,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.check("distil", distil, DISTILLED)
        self.groups, self.distil, self.instances = groups, distil, instances
        self.joint, self.groupings, self.seed = joint, groupings, seed
        self.reduce = nn.Identity()
        if hidden is not None:
            self.reduce = nn.Sequential(InstanceLinear(in_dim, hidden, bias=False), nn.ReLU())
        width = hidden or in_dim
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, width, bias=False),
                nn.ReLU(),
                nn.Linear(width, width, bias=False),
                nn.ReLU(),
            )
            for _ in range(residual)
        )
        self.first = AttentionPool(width, attention, gated)
        self.classify = nn.Linear(width, outputs)
        self.second = AttentionPool(width, attention, gated)
        self.out_dim = width
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H], scores [N], instance_logits [N, C] and the first tier's outputs."""
        h = self.reduce(bag.features)  # [N, H]
        for block in self.blocks:
            h = h + block(h)
        raw = at_least_single(self.first.raw(h))  # [N]
        activation = at_least_single(h @ self.classify.weight.T)  # [N, C], before s
        draws = 1 if self.training else self.groupings
        tiers = [self._tiers(h, raw, activation, bag, draw) for draw in range(draws)]
        vectors, weights, activations, told, groups = zip(*tiers, strict=True)
        weights = torch.stack(weights, 1)  # [N, J]
        return Embedding(
            torch.stack(vectors).mean(0),
            weights.mean(1).clamp(min=SMALLEST).log(),
            instance_logits=torch.stack(activations).mean(0),
            pooled=h,
            samples=weights if draws > 1 else None,
            auxiliary=Auxiliary(torch.cat(told), torch.cat(groups), 1.0),
        )

    def _tiers(
        self, h: Tensor, raw: Tensor, activation: Tensor, bag: Bag, draw: int
    ) -> tuple[Tensor, ...]:
        """Return what one grouping gives.

        Returns
        -------
        The vector [B, H], the weights [N] of instances in it, their class activations [N, C], and
        of the G pseudo-bags of all bags the outputs [G, C] and the bags [G] they come from.
        """
        order = self._dealt(bag, draw)  # [N]: rows, pseudo-bag after pseudo-bag
        ends, bag_ends = self._pseudo_bags(bag)  # [G + 1] in rows, [B + 1] in pseudo-bags
        s = bag_softmax(raw[order], ends)  # [N]
        z = weighted_sum(s, h, ends, order)  # [G, H]
        seen = s.unsqueeze(1) * activation[order]  # [N, C]
        chosen = self._distilled(s.detach(), seen.detach(), ends)  # [M] of order; None: z
        if chosen is None:
            features, feature_ends = z, bag_ends
        else:
            features = h[order[chosen]]
            counts = torch.bincount(segment_ids(ends)[chosen], minlength=len(z))  # [G]
            feature_ends = torch.cat([ends[:1], counts.cumsum(0)])[bag_ends]
        vector, scores = self.second(features if self.joint else features.detach(), feature_ends)

        b = bag_softmax(scores.detach(), feature_ends)  # [M]
        if chosen is None:
            parts = s.detach() * b.repeat_interleave(ends.diff())
        else:  # an instance may be chosen as both the highest and the lowest
            parts = s.new_zeros(len(s)).index_add(0, chosen, b)
        back = torch.empty_like(order).scatter(0, order, torch.arange(len(order)).to(order))
        return vector, parts[back], seen[back], self.classify(z), segment_ids(bag_ends)

    def _distilled(self, s: Tensor, activation: Tensor, ends: Tensor) -> Tensor | None:
        """Return which of the rows dealt out are passed on, [M], in order; None for the sums."""
        if self.distil == "afs":
            return None
        if self.distil == "mas":
            return torch.nonzero(segment_rank(s.unsqueeze(1), ends)[:, 0] == 0)[:, 0]
        p = activation if activation.shape[1] == 1 else activation.softmax(1)
        rank = segment_rank(p[:, -1:], ends)[:, 0]
        times = (rank < self.instances).long()
        if self.distil == "maxmins":
            sizes = ends.diff()
            times += rank >= (sizes - self.instances).repeat_interleave(sizes)
        return torch.arange(len(s), device=s.device).repeat_interleave(times)

    def _pseudo_bags(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Return the ends [G + 1] of pseudo-bags in rows and those of bags [B + 1] among them.

        Of n instances the first n mod G pseudo-bags have one more than the others.
        """
        n = bag.offsets.diff()
        g = n.clamp(max=self.groups)  # [B]
        bag_ends = torch.cat([bag.offsets[:1], g.cumsum(0)])
        place = torch.arange(int(bag_ends[-1]), device=n.device)
        place -= bag_ends[:-1].repeat_interleave(g)  # 0 .. G - 1 in each bag
        sizes = (n // g).repeat_interleave(g) + (place < (n % g).repeat_interleave(g))
        return torch.cat([bag.offsets[:1], sizes.cumsum(0)]), bag_ends

    def _dealt(self, bag: Bag, draw: int) -> Tensor:
        """Return the rows [N] of every bag in a random order, bag after bag.

        In training it comes from PyTorch's generator, instance after instance, so that it does not
        depend on how bags are packed; in evaluation from the seed and the bag's name.
        """
        names = bag.ids or ("",) * len(bag)
        if self.training:
            keys = torch.rand(len(bag.features), dtype=torch.float64)
        else:
            seeds = [seed_for(self.seed, "grouping", name, draw) for name in names]
            of_bags = zip(bag.sizes, seeds, strict=True)
            keys = torch.cat([_keys(size, seed) for size, seed in of_bags])
        return (keys.to(bag.offsets.device) + segment_ids(bag.offsets)).argsort(stable=True)


def _keys(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, dtype=torch.float64, generator=generator)
