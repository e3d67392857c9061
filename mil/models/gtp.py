"""GTP: a graph convolution, a few clusters of patches, and a transformer on the clusters."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, normalize

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.adjacency import Adjacency, bag_graph
from mil.nn.instance_linear import InstanceLinear
from mil.nn.mincut import MinCut, mincut_pool
from mil.nn.segments import at_least_single, bags_of, joined
from mil.nn.token_block import ACTIVATIONS, TokenBlock, rollout


class NodeNorm(nn.BatchNorm1d):
    """Batch normalisation over the nodes of all bags of a batch; of one node, by what is known."""

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised nodes [N, H]."""
        if self.training and len(x) == 1:
            return batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class Clusters(NamedTuple):
    """Tokens of B bags and how they came about.

    Shapes
    ------
    tokens [B, 1 + K, H], the class token first; assignment [N, K]; pooling: of the nodes.
    """

    tokens: Tensor
    assignment: Tensor
    pooling: MinCut


@register("gtp")
class GTP(BagModel):
    r"""Graph transformer for whole slides (Zheng et al., IEEE TMI 2022, arXiv 2205.09671).

    .. math::

        y = (A x + x) W + b, \qquad g = \mathrm{BatchNorm}(y / \|y\|), \qquad
        S = \mathrm{softmax}(V g + v)

    with A the neighbours, in both directions, of weight 1. MinCut pooling makes K clusters of the
    nodes (``mil.nn.mincut``; its penalties ``mincut`` and ``ortho``), and transformer layers
    (``mil.nn.token_block``) let a class token, zeros at the start, hear of them; LayerNorm of it is
    the vector. There is no position code, and the graph of clusters is not used. A x W is computed
    as A (x W) where H is below D, else as (A x) W, so that the gradient needs no product with A.

    The score of an instance is the logarithm of its share in the class token by attention rollout:
    :math:`\log \sum_k S_{nk} r_k`. What speaks for one output of a head is told by GraphCAM
    (``mil.graphcam``).

    In training, and only there, a bag is not independent of the others: the batch normalisation
    takes mean and variance of all nodes that are packed together.

    torchmil (its preset) has :math:`D^{-1/2} A D^{-1/2}` in the place of A, also in the penalties,
    nodes as wide as the features with :math:`g = \mathrm{ReLU}(y)`, and one layer of another width
    inside, with ReLU. It makes A dense, twice. Its layer has no projection behind the attention:
    with its weights ``project`` is the identity, and outputs are the same.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width H of nodes, tokens and the bag embedding; None: D.
    nodes : ``normed``, published, or ``relu``, torchmil's.
    clusters : K.
    layers : of the transformer.
    heads : of its attention; they divide its width.
    inner, ratio, activation : width inside the layers (None: H), of which the MLP is so many times
        as wide, and ``gelu`` or ``relu`` in the MLP.
    epsilon : of the norms inside the layers; counts for a class token that is close to zero yet.

    Shapes
    ------
    features [N, D] and edges [2, E] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N] and the penalties [B].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024, on a grid of 8 neighbours, peaks at 1.4 GB in training and 1.2 in evaluation; preset
    ``torchmil``, whose nodes are as wide as the features, takes 1.7 GB more than bag and PyTorch.

    Raises
    ------
    mil.bags.BagError : bags without edges.
    """

    needs: ClassVar[tuple[str, ...]] = ("graph",)
    penalties: ClassVar[tuple[str, ...]] = ("mincut", "ortho")
    presets: ClassVar = {
        "paper": Preset(
            {},
            {
                "learning_rate": 1e-3,
                "weight_decay": 5e-4,
                "schedule": "steps",
                "step_epochs": [20, 100],
                "epochs": 120,
                "patience": 120,
                "window": 8,
                "l1": 0.0,
            },
        ),
        "torchmil": Preset(
            {
                "hidden": None,
                "nodes": "relu",
                "layers": 1,
                "inner": 512,
                "ratio": 4,
                "activation": "relu",
                "epsilon": 1e-5,
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
        hidden: int | None = 64,
        nodes: str = "normed",
        clusters: int = 100,
        layers: int = 3,
        heads: int = 8,
        inner: int | None = None,
        ratio: int = 2,
        activation: str = "gelu",
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.check("nodes", nodes, ("normed", "relu"))
        self.check("activation", activation, ACTIVATIONS)
        self.out_dim = hidden = hidden or in_dim
        self.narrows = hidden < in_dim
        self.embed = InstanceLinear(in_dim, hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.node_norm = NodeNorm(hidden) if nodes == "normed" else None
        self.assign = nn.Linear(hidden, clusters)
        self.token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.blocks = nn.ModuleList(
            TokenBlock(hidden, heads, inner, ratio, activation, epsilon) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)

    def clusters(self, bag: Bag) -> Clusters:
        """Return the tokens of each bag, and how nodes became clusters."""
        graph = bag_graph(bag, self.name)
        if self.node_norm is None:
            graph = graph.normalised("sym")
        nodes = self._nodes(bag.features, graph)
        assignment = at_least_single(self.assign(nodes)).softmax(1)  # [N, K]
        with torch.autocast(nodes.device.type, enabled=False):  # sums over all nodes of a bag
            pooling = mincut_pool(nodes, assignment, graph, bag.offsets)
        token = self.token.to(pooling.pooled.dtype).expand(len(bag), -1, -1)
        return Clusters(torch.cat([token, pooling.pooled], 1), assignment, pooling)

    def _nodes(self, x: Tensor, graph: Adjacency) -> Tensor:
        """Return g [N, H]."""
        if self.narrows:
            h = at_least_single(self.embed(x))
            y = graph @ h + h + self.bias
        else:
            y = at_least_single(self.embed(graph @ x + x)) + self.bias
        return y.relu_() if self.node_norm is None else self.node_norm(normalize(y, dim=1))

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H], scores [N] and the penalties ``mincut`` and ``ortho``."""
        x, assignment, pooling = self.clusters(bag)
        maps = []
        for block in self.blocks:
            steps = block(x)
            x = steps.y
            maps.append(at_least_single(steps.attention.detach()).mean(1))
        with torch.autocast(x.device.type, enabled=False):
            scores = patches_of(rollout(maps), assignment.detach(), bag).log()
        penalties = {"mincut": pooling.mincut, "ortho": pooling.ortho}
        return Embedding(self.norm(x)[:, 0], scores, penalties)


def patches_of(clusters: Tensor, assignment: Tensor, bag: Bag) -> Tensor:
    """Return values [N] of patches from those of clusters [B, K], by the assignment [N, K]."""
    parts = zip(bags_of(assignment, bag.offsets), clusters, strict=True)
    return joined([s @ of_bag for s, of_bag in parts])
