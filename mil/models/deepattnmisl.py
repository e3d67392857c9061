"""DeepAttnMISL, as published and in the shape AdvMIL gives it."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mil.bags import Bag, BagError
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention import AttentionPool
from mil.nn.dropout import ReLUDropout
from mil.nn.initialise import xavier_linear_
from mil.nn.instance_linear import InstanceLinear
from mil.nn.segments import at_least_single, segment_ids


@register("deepattnmisl")
class DeepAttnMISL(BagModel):
    r"""Attention over clusters of a patient's patches (Yao et al., Medical Image Analysis 2020).

    With :math:`C_k` the patches of cluster k of a bag and f the gated attention's score:

    .. math::

        c_k = \frac{1}{|C_k|} \sum_{n \in C_k} \mathrm{ReLU}(W x_n + b), \qquad
        h_k = \mathrm{ReLU}(V c_k + v), \qquad z = \sum_k \mathrm{softmax}_k(f(h_k))\, h_k

    Clusters of different patients have nothing to do with each other, so all share the weights.
    Width and start are those of AdvMIL's cluster backbone, 1024-384-384 (Liu et al., Medical Image
    Analysis 2024). The preset ``paper`` is the original: 64 wide, no V, attention 32 wide without a
    gate; head ``cox`` with ``dropout: 0.5`` has the layers that follow there. Its code adds an L1
    term of two parameters only, by a slip; ``l1`` is over all.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of everything that follows, and of the bag embedding, H.
    dropout : after V. Inside the attention it is always 0.25 or, when this is 0, 0.
    mask_empty : leave empty clusters out, as Yao et al. do. If false, each takes part with c = 0,
        as in AdvMIL.
    clusters : number of clusters, empty ones included; read only where ``mask_empty`` is false.
    embed : have V; without, :math:`h_k = c_k`.
    attention : width of the attention; None: H.
    gated : multiply the attention's tanh by a sigmoid gate.

    Shapes
    ------
    features [N, D] and cluster [N] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N].

    Notes
    -----
    The score of a patch is :math:`f(h_k) - \log |C_k|` of its cluster k: over the bag, a softmax of
    it divides the attention of a cluster evenly among its patches (that of empty ones is left out).

    Raises
    ------
    mil.bags.BagError : bags without clusters, or with more than ``clusters``.
    """

    needs: ClassVar[tuple[str, ...]] = ("cluster",)
    presets: ClassVar = {
        "paper": Preset(
            {"hidden": 64, "dropout": 0.0, "embed": False, "attention": 32, "gated": False},
            {
                "learning_rate": 1e-4,
                "weight_decay": 5e-4,
                "epochs": 100,
                "patience": 15,
                "warmup": 0,
                "plateau_patience": 20,
            },
        )
    }

    def __init__(
        self,
        in_dim: int,
        hidden: int = 384,
        dropout: float = 0.25,
        mask_empty: bool = True,
        clusters: int = 8,
        embed: bool = True,
        attention: int | None = None,
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.out_dim = hidden
        self.mask_empty = mask_empty
        self.clusters = clusters
        self.phi = InstanceLinear(in_dim, hidden)
        self.embed = nn.Sequential()
        if embed:
            self.embed.extend([nn.Linear(hidden, hidden), ReLUDropout(dropout)])
        self.pool = AttentionPool(
            hidden, attention or hidden, gated, dropout=0.25 if dropout > 0 else 0.0
        )
        for part in (self.embed, self.pool):  # phi is a convolution there, which keeps its start
            xavier_linear_(part)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and scores [N], the logarithm of a patch's share but a constant."""
        group, offsets = self._groups(bag)  # [N], [B + 1]
        sizes = torch.bincount(group, minlength=int(offsets[-1]))  # [G]
        x = at_least_single(self.phi(bag.features).relu())  # [N, H], to be summed
        total = x.new_zeros(len(sizes), x.shape[1]).index_add(0, group, x)
        c = total / sizes.clamp(min=1).unsqueeze(1)  # [G, H]
        h = self.embed(c)  # [G, H]
        vector, scores = self.pool(h, offsets)  # [B, H], [G]
        # A copy for every patch is for looking at predictions; training does without. Empty groups
        # have no patch to stand for them.
        whole = self.mask_empty and not self.training
        pooled = h[group] if whole else None  # [N, H]
        return Embedding(vector, scores[group] - sizes[group].log(), pooled=pooled)

    def _groups(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Return the group [N] of every row, bag by bag and cluster by cluster, and the bags' ends.

        Groups are all G that are not empty or, without ``mask_empty``, ``clusters`` in each bag;
        bag b has the groups ``offsets[b] .. offsets[b+1] - 1``.
        """
        name = bag.ids[0] if bag.ids else "0"
        if bag.cluster is None:
            raise BagError(
                [f"bag {name}: no clusters, which model deepattnmisl reads. Load them (cluster)."]
            )
        found = int(bag.cluster.max()) + 1
        if not self.mask_empty and found > self.clusters:
            raise BagError(
                [
                    f"cluster {found - 1} is there, but model deepattnmisl without mask_empty "
                    f"has {self.clusters}. Set model_options: {{clusters: ...}} to clusters.k."
                ]
            )
        k = found if self.mask_empty else self.clusters
        group = segment_ids(bag.offsets) * k + bag.cluster  # [N]
        firsts = torch.arange(len(bag) + 1, device=group.device) * k  # [B + 1]
        if not self.mask_empty:
            return group, firsts
        present, group = group.unique(return_inverse=True)  # [G] sorted, [N]
        return group, torch.searchsorted(present, firsts)
