"""ABMIL whose instances are smoothed over their neighbours."""

from typing import ClassVar

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.adjacency import bag_graph
from mil.nn.embed import instance_embedding
from mil.nn.smooth import Smooth
from mil.nn.smooth_attention import SmoothAttentionPool


@register("sm_abmil")
class SmABMIL(BagModel):
    r"""Attention-based MIL with the smoothing operator Sm (Castro-Macias et al., NeurIPS 2024).

    .. math::

        h_n = \mathrm{ReLU}(W x_n + b), \qquad g = \mathrm{Sm}(h), \qquad
        z = \sum_n \mathrm{softmax}_n(w^\top \tanh(V g_n + v))\, g_n

    for ``smooth: early``; ``mil.nn.smooth_attention`` has the other places, ``mil.nn.smooth`` the
    operator. The graph is the patches' own, its edges in both directions and normalised by
    :math:`D^{-1/2} A D^{-1/2}`. torchmil, the authors' library, is the reference (preset
    ``torchmil``): no layer before the attention, which is as wide as the features. Ours begins with
    a linear layer, as models of whole slides do.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width H of h and of the bag embedding; None: no such layer, H = D.
    attention : width of V.
    smooth : where, ``early``, ``mid``, ``late`` or ``none``.
    mode : ``approximate``, ``steps`` of a fixed point, or ``exact``, by conjugate gradients.
    steps : of the approximate mode.
    alpha : weight of the neighbours, above 0 and below 1; where it starts if it is learnt.
    learn_alpha : whether it is.
    spectral_norm : bound the layers behind the smoothing, so that they cannot undo it.
    dropout : after the first layer.

    Shapes
    ------
    features [N, D] and edges [2, E] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024, on a grid of 8 neighbours, peaks at 1.9 GB in training and 2.0 in evaluation.

    Raises
    ------
    mil.bags.BagError : bags without edges.
    """

    needs: ClassVar[tuple[str, ...]] = ("graph",)
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
        smooth: str = "early",
        mode: str = "approximate",
        steps: int = 10,
        alpha: float = 0.5,
        learn_alpha: bool = True,
        spectral_norm: bool = False,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.embed, self.out_dim = instance_embedding(in_dim, hidden, dropout)
        self.pool = SmoothAttentionPool(
            self.out_dim,
            attention,
            smooth,
            Smooth(mode, steps, alpha, learn_alpha),
            spectral_norm=spectral_norm,
        )

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        graph = bag_graph(bag, self.name).normalised("sym")
        h = self.embed(bag.features)  # [N, H]
        vector, scores = self.pool(h, graph, bag.offsets)  # [B, H], [N]
        # Learning never needs what is averaged, the widest thing there is to smooth.
        pooled = None if self.training else self.pool.averaged(h, graph, bag.offsets)
        return Embedding(vector, scores, pooled=pooled)
