"""CAMIL."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.adjacency import Adjacency, bag_graph
from mil.nn.attention import AttentionPool
from mil.nn.embed import instance_embedding
from mil.nn.nystrom import NystromAttention
from mil.nn.reading_order import bag_cells, reading_order
from mil.nn.recompute import LARGE, recomputed, recomputed_rows
from mil.nn.segments import bag_softmax, weighted_sum
from mil.nn.similarity_graph import similarity_graph

CHANNELS = 128
"""Channels of queries and keys of large bags that are there at a time."""
PUBLISHED = {
    "hidden": None,
    "graph": "similarity",
    "residual": "heads",
    "start": "global",
    "mask_padding": False,
    "fixed_landmarks": True,
}
TRAINING = {
    "learning_rate": 2e-4,
    "weight_decay": 0.0,
    "l1": 0.0,
    "epochs": 30,
    "patience": 20,
    "warmup": 0,
    "plateau_factor": 0.2,
    "plateau_patience": 10,
    "window": 1,
}


@register("camil")
class CAMIL(BagModel):
    r"""Context-aware MIL: instances are weighed by their neighbours (Fourkioti et al., ICLR 2024).

    .. math::

        T &= h + \mathrm{Nystrom}(h), \qquad
        e_i = \sum_j a_{ij} \frac{(W_q T_i) \cdot (W_k T_j)}{\sqrt{K}} \\
        L_i &= \mathrm{softmax}_i(e)\, (W_v h_i + b_v), \qquad
        M = \sigma(L) \odot L + (1 - \sigma(L)) \odot T, \qquad
        z = \sum_i \mathrm{softmax}_i(f(T_i))\, M_i

    with :math:`h = \mathrm{ReLU}(W x + b)`, neighbours' weights a, and f the score of gated
    attention (arXiv 2305.05314). e is one sparse product, the sum over channels of Q * (A K).

    The published code differs from the paper (``fusion`` code): with :math:`g = \sigma(-L)^2` it
    has :math:`M = 2 g L + 2 (1 - g) T`, and f reads M. Presets ``paper`` and ``code`` also have
    what both share: h = x; the 7 nearest with weights of similarity for a; and the code's Nystrom
    attention, see ``mil.nn.nystrom``. Here a is 1 for an instance and its neighbours in the bag's
    graph, and Nystrom attention is that of TransMIL without what depends on other bags.

    torchmil (its preset) has h without ReLU and a LayerNorm of it in front of a Nystrom attention
    of 4 heads without output layer; neighbours alone, with :math:`D^{-1/2} A D^{-1/2}` for a; and
    plain attention for f. Its L is made of T, which is mended, so outputs with its weights (b_v and
    the score's bias are 0) differ by that alone.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of h and of the bag embedding, H; None: h = x.
    relu : have the ReLU of h.
    norm : have a LayerNorm in front of the Nystrom attention.
    heads, landmarks, iterations, project : of the Nystrom attention.
    keys : width K of queries and keys for neighbours.
    attention, gated : of f.
    fusion : ``paper`` or ``code``.
    graph : ``bag``, the bag's own and each instance itself; ``neighbours``, the bag's own,
        normalised; or ``similarity``, see ``mil.nn.similarity_graph``.
    residual, start, mask_padding, fixed_landmarks : of the Nystrom attention.
    dropout : behind the layer that makes h, and behind the Nystrom attention.

    Shapes
    ------
    features [N, D], coords [N, 2] and edges [2, E] (but for ``similarity``) of one bag, or packed
    with offsets [B + 1]; returns vector [B, H], scores [N].

    Notes
    -----
    Instances go through the Nystrom attention row by row of their slide, whatever their order in
    the bag. Time and memory grow with N and E: a step of preset ``torchmil`` on 100,000 instances
    of width 1024 takes 1.8 GB of a CPU's memory beside the bag and PyTorch, 1.1 GB. Above 20,000
    instances what attention and fusion compute on their way is made anew for the gradient, in
    runs of instances. Elsewhere e is made of two N x N matrices, and L of T.
    """

    presets: ClassVar = {
        "paper": Preset(PUBLISHED, TRAINING),
        "code": Preset({**PUBLISHED, "fusion": "code"}, TRAINING),
        "torchmil": Preset(
            {
                "relu": False,
                "norm": True,
                "heads": 4,
                "project": False,
                "keys": 512,
                "gated": False,
                "graph": "neighbours",
                "residual": "none",
                "start": "global",
                "mask_padding": False,
                "fixed_landmarks": True,
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
        hidden: int | None = 512,
        relu: bool = True,
        norm: bool = False,
        heads: int = 8,
        landmarks: int = 256,
        iterations: int = 6,
        project: bool = True,
        keys: int = 256,
        attention: int = 128,
        gated: bool = True,
        fusion: str = "paper",
        graph: str = "bag",
        residual: str = "sequence",
        start: str = "per_matrix",
        mask_padding: bool = True,
        fixed_landmarks: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.check("fusion", fusion, ("paper", "code"))
        self.check("graph", graph, ("bag", "neighbours", "similarity"))
        self.fusion, self.graph = fusion, graph
        self.needs = ("coords",) if graph == "similarity" else ("coords", "graph")
        self.embed, width = instance_embedding(in_dim, hidden, dropout, relu)
        self.out_dim = width
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.attention = NystromAttention(
            width,
            heads,
            landmarks,
            iterations,
            residual,
            dropout=dropout,
            start=start,
            mask_padding=mask_padding,
            fixed_landmarks=fixed_landmarks,
            project=project,
        )
        self.query = nn.Linear(width, keys, bias=False)
        self.key = nn.Linear(width, keys, bias=False)
        self.value = nn.Linear(width, width)
        self.pool = AttentionPool(width, attention, gated)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        cells = bag_cells(bag, self.name)
        h = self.embed(bag.features)  # [N, H]
        t = self._context(h, bag.offsets, reading_order(bag, cells))  # [N, H]
        share = bag_softmax(self.neighbour_scores(t, self._graph(bag, cells)), bag.offsets)
        m = recomputed_rows(self._fuse, t, h, share)  # [N, H]
        scores = recomputed(self.pool.raw, t if self.fusion == "paper" else m)  # [N]
        weights = bag_softmax(scores, bag.offsets)
        return Embedding(weighted_sum(weights, m, bag.offsets), scores, pooled=m)

    def _graph(self, bag: Bag, cells: Tensor) -> Adjacency:
        if self.graph == "similarity":
            return similarity_graph(bag, cells[:, 1:])
        graph = bag_graph(bag, self.name)
        return graph.with_loops() if self.graph == "bag" else graph.normalised("sym")

    def _context(self, h: Tensor, offsets: Tensor, order: Tensor) -> Tensor:
        """Return T [N, H]."""
        large = torch.is_grad_enabled() and len(h) > LARGE
        attend = self.attention.in_stages if large else self.attention
        heard = attend(self.norm(h)[order], offsets)
        return h + torch.empty_like(heard).index_copy(0, order, heard)

    def neighbour_scores(self, t: Tensor, graph: Adjacency) -> Tensor:
        """Return e [N]: how much instances are like their neighbours."""
        step = CHANNELS if len(t) > LARGE else len(self.query.weight)
        pairs = zip(self.query.weight.split(step), self.key.weight.split(step), strict=True)
        e = sum(recomputed(self._likeness, t, graph, *pair) for pair in pairs)
        return e / len(self.query.weight) ** 0.5

    def _likeness(self, t: Tensor, graph: Adjacency, of_query: Tensor, of_key: Tensor) -> Tensor:
        """Return the products [N] of queries with the sums of neighbours' keys."""
        return (linear(t, of_query) * (graph @ linear(t, of_key))).sum(1)

    def _fuse(self, t: Tensor, h: Tensor, share: Tensor) -> Tensor:
        """Return M [N, H] by the shares [N] of instances in the softmax of e."""
        local = share.unsqueeze(1) * self.value(h)
        if self.fusion == "paper":
            gate = local.sigmoid()
            return gate * local + (1 - gate) * t
        gate = (-local).sigmoid().square()
        return 2 * gate * local + 2 * (1 - gate) * t
