"""Patch-GCN, as published and in the shape AdvMIL gives it."""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from mil.bags import Bag, BagError
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.adjacency import Adjacency
from mil.nn.attention import AttentionPool
from mil.nn.deepgcn import deepgcn_layer
from mil.nn.dropout import Dropout, ReLUDropout
from mil.nn.embed import instance_embedding
from mil.nn.gcnconv import GCNConv, gcn_graph
from mil.nn.genconv import GENConv
from mil.nn.initialise import xavier_linear_
from mil.nn.joined_linear import JoinedLinear
from mil.nn.recompute import recomputed
from mil.nn.segments import bag_softmax, weighted_sum

CONVOLUTIONS = {"gen": GENConv, "gcn": GCNConv}
EDGES = {"spatial": "edge_index", "latent": "edge_latent"}
DIRECTIONS = ("reverse_knn", "symmetric")
BLOCKS = ("res", "res+", "plain")  # dense ones would widen from layer to layer


@register("patchgcn")
class PatchGCN(BagModel):
    r"""Graph convolutions over neighbouring patches, then attention (Chen et al., MICCAI 2021).

    .. math::

        x^0 = \mathrm{ReLU}(W x + b), \qquad x^1 = \mathrm{GENConv}(x^0), \qquad
        x^{l+1} = x^l + \mathrm{ReLU}(\mathrm{LayerNorm}(\mathrm{GENConv}(x^l)))

    then :math:`h = \mathrm{ReLU}(P [x^0, x^1, \ldots, x^L] + p)` and gated attention pooling of h;
    with ``rho`` one more layer with ReLU on the result. Patches learn of neighbours at most L steps
    away; slides of a patient share no edge. Edges run from a patch to its nearest neighbours, and
    a node hears, as published, from those that have *it* among theirs: the reverse of what a node's
    neighbours are. On a full grid the two are the same, at borders and holes they are not. With
    ``direction: symmetric`` edges run both ways. Widths, one convolution and the start are those of
    AdvMIL's graph backbone, 1024-128-128 (Liu et al., Medical Image Analysis 2024); the preset
    ``paper`` is the original, whose environment had no dropout of sums.

    With ``conv: gcn`` the convolutions are linear (``mil.nn.gcnconv``), and the first has norm and
    ReLU behind it, too. So are those of torchmil (its preset), four as wide as the features, in
    plain blocks and without gates.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the nodes; None for :math:`x^0 = x`, and all as wide as the features.
    out : width of h and of the bag embedding, H; None for as wide as the nodes.
    num_layers : number of convolutions, L.
    edge_agg : neighbours in space (``spatial``) or among features (``latent``).
    dropout : after the first layer and after P. Unless it is 0, the attention's is 0.25.
    direction : ``reverse_knn`` or ``symmetric``.
    block : of the layers :math:`x^{l+1}`: ``res`` as above, ``res+`` or ``plain``
        (``mil.nn.deepgcn``).
    sum_dropout : of the sums :math:`x^{l+1}`, unless ``dropout`` is 0.
    rho : one more layer H -> H with ReLU behind the pooling.
    conv : ``gen`` as above, or ``gcn``.
    attention : width of the attention; None for as wide as h.
    gated : multiply the attention's tanh by a sigmoid gate.

    Shapes
    ------
    features [N, D] and edges [2, E] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N] and pooled [N, H].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024, on a grid of 8 neighbours, peaks at 2.1 GB in training and 1.5 in evaluation
    (preset ``paper``: 3.1 in training, ``torchmil``: 4.4). Above 20,000 layers are computed again
    for the gradient.

    Raises
    ------
    mil.bags.BagError : bags without the edges that ``edge_agg`` names.
    """

    needs: ClassVar[tuple[str, ...]] = ("graph",)
    presets: ClassVar = {
        "paper": Preset(
            {"num_layers": 3, "out": 512, "sum_dropout": 0.0, "rho": True},
            {
                "learning_rate": 2e-4,
                "schedule": "constant",
                "balanced": True,
                "weight_decay": 1e-5,
                "epochs": 20,
                "window": 32,
                "l1": 0.0,
            },
        ),
        "torchmil": Preset(
            {
                "hidden": None,
                "out": None,
                "num_layers": 4,
                "dropout": 0.0,
                "direction": "symmetric",
                "block": "plain",
                "conv": "gcn",
                "attention": 128,
                "gated": False,
            },
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
        hidden: int | None = 128,
        out: int | None = 128,
        num_layers: int = 1,
        edge_agg: str = "spatial",
        dropout: float = 0.25,
        direction: str = "reverse_knn",
        block: str = "res",
        sum_dropout: float = 0.1,
        rho: bool = False,
        conv: str = "gen",
        attention: int | None = None,
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.check("edge_agg", edge_agg, EDGES)
        self.check("direction", direction, DIRECTIONS)
        self.check("block", block, BLOCKS)
        self.check("conv", conv, CONVOLUTIONS)
        self.edge_agg, self.direction, self.block, self.conv = edge_agg, direction, block, conv
        self.fc, width = instance_embedding(in_dim, hidden, dropout)
        out = out or width
        self.out_dim = out
        self.convs = nn.ModuleList(CONVOLUTIONS[conv](width) for _ in range(num_layers))
        bare = 1 if conv == "gen" else 0  # convolutions without a norm
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers - bare))
        self.drop = Dropout(sum_dropout if dropout > 0 else 0.0)
        self.phi = nn.Sequential(
            JoinedLinear([width] * (1 + num_layers), out), ReLUDropout(dropout)
        )
        self.pool = AttentionPool(
            out, attention or out, gated, dropout=0.25 if dropout > 0 else 0.0
        )
        self.rho = nn.Sequential(nn.Linear(out, out), nn.ReLU()) if rho else None
        self.bends = self.rho is not None
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        h = self.phi(self._layers(bag.features, self._graph(bag)))  # [N, H]
        scores = recomputed(self.pool.raw, h)  # [N]
        average = weighted_sum(bag_softmax(scores, bag.offsets), h, bag.offsets)  # [B, H]
        return Embedding(self.after_pooling(average), scores, pooled=h)

    def _layers(self, features: Tensor, graph: Adjacency) -> Iterator[Tensor]:
        """Yield x^0, x^1, ... [N, hidden]."""
        x = self.fc(features)
        yield x
        bare = len(self.convs) - len(self.norms)
        for conv in self.convs[:bare]:
            x = recomputed(conv, x, graph)
            yield x
        for conv, norm in zip(self.convs[bare:], self.norms, strict=True):
            x = recomputed(
                deepgcn_layer, x, partial(conv, graph=graph), norm, self.block, self.drop
            )
            yield x

    def after_pooling(self, average: Tensor) -> Tensor:
        """Return the vector [B, H] of the attention's average [B, out]."""
        return average if self.rho is None else self.rho(average)

    def _graph(self, bag: Bag) -> Adjacency:
        """Return the edges of a bag as the convolutions read them."""
        linear = self.conv == "gcn"
        weight = bag.edge_weight if linear and self.edge_agg == "spatial" else None
        graph = Adjacency.of(self._edges(bag), len(bag.features), weight)
        if self.direction == "symmetric":
            graph = graph.symmetrised()
        return gcn_graph(graph) if linear else graph

    def _edges(self, bag: Bag) -> Tensor:
        edges = getattr(bag, EDGES[self.edge_agg])
        if edges is None:
            who = f"patient {bag.ids[0]}" if bag.ids else "the bag"
            mend = (
                "Set graphs: {latent: true} in the configuration, or edge_agg: spatial."
                if self.edge_agg == "latent"
                else "Load bags with what the model needs (graph)."
            )
            raise BagError(
                [
                    f"{who}: no {EDGES[self.edge_agg]}, the edges that model patchgcn with "
                    f"edge_agg: {self.edge_agg} reads. {mend}"
                ]
            )
        return edges
