"""ABMIL whose attention shall differ little between neighbours."""

from typing import ClassVar

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.adjacency import bag_graph
from mil.nn.embed import instance_embedding
from mil.nn.prob_smooth import ProbSmoothAttentionPool


@register("smooth_abmil")
class SmoothABMIL(BagModel):
    r"""Smooth attention (Wu et al., 2023, arXiv 2307.09457), ``prob_smooth_abmil`` without chance.

    .. math::

        z = \sum_n \mathrm{softmax}_n(\mu)\, h_n, \qquad h_n = \mathrm{ReLU}(W x_n + b)

    with scores mu from two layers of GELU; the penalty ``energy`` of the loss is their Dirichlet
    energy :math:`\mu^\top (I - \hat A) \mu` divided by the number of instances. torchmil is the
    reference (preset ``torchmil``), which has no first layer.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width H of h and of the bag embedding; None: no such layer, H = D.
    attention : half the width of the layers that scores come from.
    dropout : after the first layer.

    Shapes
    ------
    features [N, D] and edges [2, E] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N], pooled [N, H].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024, on a grid of 8 neighbours, peaks at 1.5 GB in training (preset ``torchmil``).

    Raises
    ------
    mil.bags.BagError : bags without edges.
    """

    needs: ClassVar[tuple[str, ...]] = ("graph",)
    penalties: ClassVar[tuple[str, ...]] = ("energy",)
    presets: ClassVar = {
        "torchmil": Preset(
            {"hidden": None},
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "epochs": 50,
                "window": 1,
                "l1": 0.0,
            },
        )
    }

    def __init__(
        self,
        in_dim: int,
        hidden: int | None = 512,
        attention: int = 128,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.embed, self.out_dim = instance_embedding(in_dim, hidden, dropout)
        self.pool = ProbSmoothAttentionPool(self.out_dim, attention, variance=False)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H], raw attention scores [N] and the penalty ``energy``."""
        graph = bag_graph(bag, self.name).normalised("sym")
        h = self.embed(bag.features)  # [N, H]
        vector, scores, _, energy = self.pool(h, graph, bag.offsets, bag.features.sum(1))
        return Embedding(vector, scores, {"energy": energy}, pooled=h)
