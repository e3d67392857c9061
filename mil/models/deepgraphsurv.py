"""DeepGraphSurv, on the graph of neighbouring patches."""

from typing import ClassVar

from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.adjacency import Adjacency, bag_graph
from mil.nn.chebconv import ChebConv
from mil.nn.dropout import ReLUDropout
from mil.nn.edge_metric import EdgeMetric, LearntGraph
from mil.nn.segments import bag_softmax, weighted_sum


class ChebBranch(nn.Module):
    """Chebyshev convolutions one behind the other, each with ReLU and dropout."""

    def __init__(self, width: int, out: int, layers: int, orders: int, dropout: float) -> None:
        super().__init__()
        widths = [width] + [out] * (layers - 1)
        self.convs = nn.ModuleList(ChebConv(each, out, orders) for each in widths)
        self.drop = ReLUDropout(dropout)

    def forward(self, x: Tensor, graph: Adjacency | LearntGraph) -> Tensor:
        """Return the nodes [N, out]."""
        for conv in self.convs:
            x = self.drop(conv(x, graph))
        return x


@register("deepgraphsurv")
class DeepGraphSurv(BagModel):
    r"""Spectral graph convolutions and an attention of their own (Li et al., MICCAI 2018).

    .. math::

        h = \mathrm{ReLU}(\mathrm{Cheb}_1(x)), \qquad
        f = w^\top \mathrm{ReLU}(\mathrm{Cheb}_2(x)) + c, \qquad
        z = \sum_n \mathrm{softmax}_n(f)\, h_n

    The original learns the graph of all pairs of about a thousand sampled patches. Ours keeps that
    of neighbouring patches, in both directions, so that whole slides fit; with ``metric`` its edges
    have learnt weights (``mil.nn.edge_metric``; preset ``paper``, of which batch normalisation is
    left out). torchmil's convolution is none (``mil.nn.chebconv``); its preset has its sizes only.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width H of h and of the bag embedding; None: that of the features.
    attention : width of the attention's branch.
    layers : convolutions of each branch.
    orders : of the polynomials, K; a patch hears of those up to K - 1 steps away in a layer.
    metric : learn weights of the edges.
    dropout : after every convolution.

    Shapes
    ------
    features [N, D] and edges [2, E] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N], pooled [N, H].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024, on a grid of 8 neighbours, peaks at 1.6 GB in training and 1.5 in evaluation
    (preset ``paper``: 2.2 in training).

    Raises
    ------
    mil.bags.BagError : bags without edges.
    """

    needs: ClassVar[tuple[str, ...]] = ("graph",)
    presets: ClassVar = {
        "paper": Preset({"metric": True, "dropout": 0.2}),
        "torchmil": Preset(
            {"hidden": None, "orders": 5, "dropout": 0.0},
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
        hidden: int | None = 256,
        attention: int = 128,
        layers: int = 1,
        orders: int = 3,
        metric: bool = False,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.out_dim = hidden or in_dim
        self.metric = EdgeMetric(in_dim) if metric else None
        self.representation = ChebBranch(in_dim, self.out_dim, layers, orders, dropout)
        self.attention = ChebBranch(in_dim, attention, layers, orders, dropout)
        self.score = nn.Linear(attention, 1)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        x, graph = bag.features, bag_graph(bag, self.name)
        graph = graph.normalised("sym") if self.metric is None else self.metric(x, graph)
        h = self.representation(x, graph)  # [N, H]
        scores = self.score(self.attention(x, graph)).squeeze(-1)  # [N]
        weights = bag_softmax(scores, bag.offsets)
        vector = weighted_sum(weights, h, bag.offsets)
        return Embedding(vector, scores, pooled=h)
