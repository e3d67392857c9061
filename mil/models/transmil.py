"""TransMIL."""

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.instance_linear import InstanceLinear
from mil.nn.nystrom import NystromAttention
from mil.nn.ppeg import PPEG
from mil.nn.reading_order import bag_cells, reading_order
from mil.nn.recompute import recomputed
from mil.nn.segments import bags_of

LAYOUTS = ("sorted", "true_grid", "list")


@register("transmil")
class TransMIL(BagModel):
    r"""Two layers of Nystrom attention with a map of the instances between (Shao et al., 2021).

    .. math::

        h &= [c, \mathrm{ReLU}(W x + b)], \qquad
        h' = h + \mathrm{Nystrom}_1(\mathrm{LN}(h)) \\
        h'' &= \mathrm{PPEG}(h'), \qquad h''' = h'' + \mathrm{Nystrom}_2(\mathrm{LN}(h'')), \qquad
        z = \mathrm{LN}(h'''_c)

    with a learnt class token c (NeurIPS 2021, arXiv 2106.00908). For PPEG the instances are laid on
    the smallest square map that holds them, row by row; the first are repeated to fill it up.

    In the published code (preset ``paper``) instances come as the list has them, and the attention
    pads with zeros that take part, see ``mil.nn.nystrom``; here they are sorted by where they lie
    (``layout`` sorted), and padding has no part. torchmil (its preset) has 4 heads, no ReLU,
    no residual of the values and no dropout. Everything else is the reference's.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of h and of the bag embedding, H.
    heads : of the attention; they divide H.
    landmarks : of the attention; None: H / 2.
    iterations : of the attention's inverse.
    relu : have the ReLU of h.
    residual : have the residual of the values in the attention.
    dropout : behind the attention.
    layout : ``sorted``: slide by slide, row by row, a square of them; ``true_grid``: sorted too,
        and PPEG sees each instance where it is, with zeros where none is and no repetition;
        ``list``: as they come, which alone depends on their order.
    start, mask_padding, fixed_landmarks : of ``NystromAttention``.

    Shapes
    ------
    features [N, D] and coords [N, 2] (but for ``list``) of one bag, or packed with offsets [B + 1];
    returns vector [B, H], scores [N].

    Notes
    -----
    The score of an instance is what the class token's row of the second attention gives it, as the
    mean over heads and with that of its repetition. It may be negative: the inverse is approximate.
    Nobody asks what the second layer makes of instances, so it is computed for the class token
    alone. Time and memory grow with N: training on 100,000 instances of width 1024 takes 3.0 GB on
    a CPU beside the bag and PyTorch, 1.1 GB (preset ``torchmil``: 1.9); above 20,000 layers are
    computed again for the gradient.
    """

    scores_are: ClassVar[str] = "evidence"
    presets: ClassVar = {
        "paper": Preset(
            {"layout": "list", "start": "global", "mask_padding": False, "fixed_landmarks": True},
            {
                "optimiser": "radam",
                "lookahead": 6,
                "schedule": "constant",
                "learning_rate": 2e-4,
                "weight_decay": 1e-5,
                "l1": 0.0,
                "epochs": 200,
                "patience": 10,
                "warmup": 0,
                "window": 2,
            },
        ),
        "torchmil": Preset(
            {
                "heads": 4,
                "relu": False,
                "residual": False,
                "dropout": 0.0,
                "layout": "list",
                "start": "global",
                "mask_padding": False,
                "fixed_landmarks": True,
            },
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "epochs": 50,
                "window": 1,
                "weight_decay": 0.0,
                "l1": 0.0,
            },
        ),
    }

    def __init__(
        self,
        in_dim: int,
        hidden: int = 512,
        heads: int = 8,
        landmarks: int | None = None,
        iterations: int = 6,
        relu: bool = True,
        residual: bool = True,
        dropout: float = 0.1,
        layout: str = "sorted",
        start: str = "per_matrix",
        mask_padding: bool = True,
        fixed_landmarks: bool = False,
    ) -> None:
        super().__init__()
        self.check("layout", layout, LAYOUTS)
        self.layout = layout
        self.order_free = layout != "list"
        self.needs = ("coords",) if self.order_free else ()
        self.out_dim = hidden
        self.embed = nn.Sequential(
            InstanceLinear(in_dim, hidden), nn.ReLU() if relu else nn.Identity()
        )
        self.token = nn.Parameter(torch.randn(hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.attentions = nn.ModuleList(
            NystromAttention(
                hidden,
                heads,
                landmarks or max(hidden // 2, 1),
                iterations,
                "sequence" if residual else "none",
                dropout=dropout,
                start=start,
                mask_padding=mask_padding,
                fixed_landmarks=fixed_landmarks,
            )
            for _ in range(2)
        )
        self.positions = PPEG(hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and scores [N]."""
        cells = order = None
        if self.layout != "list":
            cells = bag_cells(bag, self.name)  # [N, 3]
            order = reading_order(bag, cells)
        source, offsets = self._tokens(bag, order)  # [T], [B + 1]

        x = self._embedded(bag.features, source)  # [T, H]
        x = recomputed(self._hear, x, offsets)
        x = recomputed(self._locate, x, offsets, source, cells)
        token, row = recomputed(self._hear_as_token, x, offsets)  # [B, H], [T]
        # Class tokens are added up in front and left out.
        scores = row.new_zeros(len(bag.features) + 1).index_add(0, source + 1, row)[1:]
        return Embedding(self.norm(token), scores)

    def _tokens(self, bag: Bag, order: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the instance [T] behind each token, -1 for a class token, and the bags' ends."""
        if order is None:
            order = torch.arange(len(bag.features), device=bag.features.device)
        token = order.new_full((1,), -1)
        parts, ends = [], [0]
        for start, end in pairwise(bag.offsets.tolist()):
            own, n = order[start:end], end - start
            missing = 0 if self.layout == "true_grid" else _side(n) ** 2 - n
            parts += [token, own, own[:missing]]
            ends.append(ends[-1] + 1 + n + missing)
        return torch.cat(parts), torch.tensor(ends, device=order.device)

    def _embedded(self, features: Tensor, source: Tensor) -> Tensor:
        h = self.embed(features)  # [N, H]
        return torch.cat([self.token.to(h.dtype).unsqueeze(0), h])[source + 1]

    def _hear(self, x: Tensor, offsets: Tensor) -> Tensor:
        return x + self.attentions[0](x, offsets, self.norms[0])

    def _hear_as_token(self, x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return class tokens [B, H] behind the second layer, and their attention [T].

        Nobody asks what that layer makes of instances.
        """
        token = x[offsets[:-1]]
        heard, row = self.attentions[1].of_first(self.norms[1](x), offsets)
        return token + heard, row

    def _locate(self, x: Tensor, offsets: Tensor, source: Tensor, cells: Tensor | None) -> Tensor:
        """Tell every token but the class tokens where it is."""
        if self.layout == "true_grid":
            (rows,) = torch.nonzero(source >= 0, as_tuple=True)
            located = self.positions.on_grid(x[rows], cells[source[rows]])
            return x.index_copy(0, rows, located.to(x.dtype))
        parts = []
        for tokens in bags_of(x, offsets):
            token, others = tokens.split([1, len(tokens) - 1])
            located = self.positions(others, math.isqrt(len(others)))
            parts += [token.to(located.dtype), located]
        return torch.cat(parts)


def _side(n: int) -> int:
    """Return the side of the smallest square map of n cells."""
    return math.isqrt(n - 1) + 1
