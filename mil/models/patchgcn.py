"""Patch-GCN, in the shape AdvMIL gives it."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mil.bags import Bag, BagError
from mil.models import register
from mil.models.base import BagModel, Embedding
from mil.nn.attention import AttentionPool
from mil.nn.dropout import ReLUDropout
from mil.nn.genconv import GENConv, incoming
from mil.nn.initialise import xavier_linear_
from mil.nn.instance_linear import InstanceLinear
from mil.problems import did_you_mean
from mil.registry import UnknownNameError

EDGES = {"spatial": "edge_index", "latent": "edge_latent"}


@register("patchgcn")
class PatchGCN(BagModel):
    r"""Graph convolutions over neighbouring patches, then attention (Chen et al., MICCAI 2021).

    .. math::

        x^0 = \mathrm{ReLU}(W x + b), \qquad x^1 = \mathrm{GENConv}(x^0), \qquad
        x^{l+1} = x^l + \mathrm{ReLU}(\mathrm{LayerNorm}(\mathrm{GENConv}(x^l)))

    then :math:`h = \mathrm{ReLU}(P [x^0, x^1, \ldots, x^L] + p)` and gated attention pooling of h.
    Patches learn of neighbours at most L steps away; slides of a patient share no edge. A node
    hears from those that have *it* among their neighbours, as published: edges run from a patch to
    its neighbours. Widths, one convolution and the start are those of AdvMIL's graph backbone,
    1024-128-128 (Liu et al., Medical Image Analysis 2024); the paper has ``num_layers`` 3, ``out``
    512 and one more layer before its head.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the nodes.
    out : width of h, of the attention and of the bag embedding, H.
    num_layers : number of convolutions, L.
    edge_agg : neighbours in space (``spatial``) or among features (``latent``).
    dropout : after the first layer and after P. Unless it is 0, the attention's is 0.25 and that of
        the sums :math:`x^{l+1}` 0.1.

    Shapes
    ------
    features [N, D] and edges [2, E] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N].

    Raises
    ------
    mil.bags.BagError : bags without the edges that ``edge_agg`` names.
    """

    needs: ClassVar[tuple[str, ...]] = ("graph",)

    def __init__(
        self,
        in_dim: int,
        hidden: int = 128,
        out: int = 128,
        num_layers: int = 1,
        edge_agg: str = "spatial",
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if edge_agg not in EDGES:
            hint = did_you_mean(edge_agg, EDGES) or "."
            raise UnknownNameError(
                [f"model 'patchgcn': edge_agg is {edge_agg!r}{hint} Known: {', '.join(EDGES)}."]
            )
        self.edge_agg = edge_agg
        self.out_dim = out
        self.fc = nn.Sequential(InstanceLinear(in_dim, hidden), ReLUDropout(dropout))
        self.convs = nn.ModuleList(GENConv(hidden) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(num_layers - 1))
        self.drop = nn.Dropout(0.1 if dropout > 0 else 0.0)
        joined = hidden * (1 + num_layers)
        self.phi = nn.Sequential(nn.Linear(joined, out), ReLUDropout(dropout))
        self.pool = AttentionPool(out, out, gated=True, dropout=0.25 if dropout > 0 else 0.0)
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        edges = incoming(self._edges(bag), len(bag.features))
        x = self.fc(bag.features)  # [N, hidden]
        first, *others = self.convs
        layers = [x, first(x, edges)]
        for conv, norm in zip(others, self.norms, strict=True):
            x = layers[-1]
            layers.append(self.drop(x + norm(conv(x, edges)).relu()))
        h = self.phi(torch.cat(layers, 1))  # [N, H]
        vector, scores = self.pool(h, bag.offsets)  # [B, H], [N]
        return Embedding(vector, scores, pooled=h)

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
