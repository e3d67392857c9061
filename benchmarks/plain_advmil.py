"""AdvMIL's networks as plain PyTorch, one bag at a time: the peer of `benchmarks/training.py`.

Written from the specification: layers, widths and the names that the published checkpoints have.
Where the original has 1x1 convolutions these are matrix products, the faster form on a CPU.
"""
# ruff: noqa: D101, D102, D103 - the classes are the specification's modules, named as there

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mil.bags import REGION, Bag


class Gated(nn.Module):
    """Gated attention over the rows of x [N, L]: their weighted sum [1, L]."""

    def __init__(self, width: int, names: tuple[str, str, str]) -> None:
        super().__init__()
        self.names = names
        for name, squash in zip(names, (nn.Tanh(), nn.Sigmoid()), strict=False):
            setattr(self, name, nn.Sequential(nn.Linear(width, width), squash, nn.Dropout(0.25)))
        setattr(self, names[2], nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = (getattr(self, name) for name in self.names)
        weights = c(a(x) * b(x)).T.softmax(1)  # [1, N]
        return weights @ x


def clam_gated(width: int) -> Gated:
    return Gated(width, ("attention_a", "attention_b", "attention_c"))


def region_gated(width: int) -> Gated:
    return Gated(width, ("fc1", "score", "fc2"))


class Regions(nn.Module):
    """A layer on every patch, then the mean of each sixteen: [N, 1024] -> [M, H]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1024, width, 1)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(by_rows(self.conv, x)).relu()
        return h.view(-1, REGION, h.shape[1]).mean(1)


def by_rows(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return linear(x, conv.weight.flatten(1), conv.bias)


class Abmil(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first = (nn.Linear(1024, 384), nn.ReLU(), nn.Dropout(0.25))
        self.attention_net = nn.Sequential(*first, clam_gated(384))
        self.rho = nn.Sequential(nn.Linear(384, 384), nn.ReLU(), nn.Dropout(0.25))

    def forward(self, bag: Bag) -> Tensor:
        return self.rho(self.attention_net(bag.features))


class Cluster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.phis = nn.Sequential(nn.Conv2d(1024, 384, 1), nn.ReLU())
        first = (nn.Linear(384, 384), nn.ReLU(), nn.Dropout(0.25))
        self.attention_net = nn.Sequential(*first, clam_gated(384))

    def forward(self, bag: Bag) -> Tensor:
        means = []
        for k in range(8):
            rows = bag.features[bag.cluster == k]
            h = by_rows(self.phis[0], rows).relu()
            means.append(h.mean(0) if len(rows) else h.new_zeros(384))
        return self.attention_net(torch.stack(means))


class GenConv(nn.Module):
    """Messages on every edge, softmax by channel over those that end in a node."""

    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.ones(1))
        layers = (nn.Linear(128, 256), nn.LayerNorm(256), nn.ReLU(), nn.Dropout(0.0))
        self.mlp = nn.Sequential(*layers, nn.Linear(256, 128))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        m = x[source].relu() + 1e-7  # [E, 128]
        rows = target.unsqueeze(1).expand_as(m)
        largest = m.new_zeros(x.shape).scatter_reduce(0, rows, self.t.detach() * m.detach(), "amax")
        powers = (self.t * m - largest[target]).exp()
        total = torch.zeros_like(x).index_add(0, target, powers) + 1e-16
        return self.mlp(x + torch.zeros_like(x).index_add(0, target, powers / total[target] * m))


class GraphLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = GenConv()
        self.norm = nn.LayerNorm(128)  # unused in the first layer, and there is no other

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.conv(x, edges)


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(1024, 128), nn.ReLU(), nn.Dropout(0.25))
        self.layers = nn.ModuleList([GraphLayer()])
        self.path_phi = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.25))
        self.path_attention_head = clam_gated(128)

    def forward(self, bag: Bag) -> Tensor:
        x = self.fc(bag.features)
        joined = torch.cat([x, self.layers[0](x, bag.edge_index)], 1)
        return self.path_attention_head(self.path_phi(joined))


class Patch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding_layer = Regions(384)
        layer = nn.TransformerEncoderLayer(384, 8, 384, 0.25, batch_first=True)
        self.patch_encoder_layer = nn.TransformerEncoder(layer, 1)
        self.pool = region_gated(384)

    def forward(self, bag: Bag) -> Tensor:
        regions = self.patch_embedding_layer(bag.features)
        return self.pool(self.patch_encoder_layer(regions.unsqueeze(0)).squeeze(0))


BACKBONES = {
    **{"abmil": (Abmil, 384), "deepattnmisl": (Cluster, 384)},
    **{"patchgcn": (Graph, 128), "esat": (Patch, 384)},
}


class Generator(nn.Module):
    """Backbone and head; a layer whose flag is 1 reads as much fresh noise as input."""

    def __init__(self, model: str, flags: tuple[int, int]) -> None:
        super().__init__()
        kind, d = BACKBONES[model]
        self.backbone, self.flags = kind(), flags
        first = nn.Linear(d * (1 + flags[0]), d // 2)
        last = nn.Linear(d // 2 * (1 + flags[1]), 1)
        hidden = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.6))
        self.MLPs = nn.ModuleList([hidden, nn.Sequential(last)])

    def forward(self, bag: Bag) -> Tensor:
        """Return one time [1, 1] of the bag."""
        h = self.backbone(bag).view(1, -1)
        for flag, layer in zip(self.flags, self.MLPs, strict=True):
            if flag:
                h = torch.cat([h, torch.rand(h.shape).to(h.device)], 1)
            h = layer(h)
        return h.sigmoid()


class PairOne(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = Regions(128)
        self.fc1 = self.narrow()
        self.pool = region_gated(128)
        self.fc2 = self.narrow()

    @staticmethod
    def narrow() -> nn.Sequential:
        return nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.25), nn.Linear(64, 128))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        regions = self.fc1(self.embedding(x))
        return regions, self.fc2(self.pool(regions))


class Judge(nn.Module):
    """The discriminator with region-level projection (RLIP)."""

    def __init__(self) -> None:
        super().__init__()
        self.net_pair_one = PairOne()
        wide = (nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in ((1, 64), (64, 128)))
        self.net_pair_two = nn.Sequential(*wide)
        self.prj_layer = nn.Linear(128, 1)

    def forward(self, bag: Bag, time: Tensor) -> Tensor:
        """Return the logit [1, 1] of the bag with a time [1, 1]."""
        regions, vector = self.net_pair_one(bag.features)
        products = (regions * self.net_pair_two(time)).sum(1)  # [M]
        return products.mean().view(1, 1) + self.prj_layer(vector)
