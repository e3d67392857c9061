"""SETMIL."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention_encoder import normed_mlp
from mil.nn.grid_positions import grid_positions
from mil.nn.grid_stencil import window_cells
from mil.nn.positional_attention import PositionalAttention
from mil.nn.sinusoid import grid_sinusoid, sinusoid
from mil.nn.tokens_to_token import TokensToToken

REDUCE = 5
PYRAMID = (3, 5, 7)
LARGE = 20_000
"""Instances from which on a bag's map is reduced by 4, not 2, in rows and columns."""


@dataclass
class Map:
    """The maps of packed bags: M cells with instances, T tokens of the reduced map.

    Shapes
    ------
    cell [N]: of every instance, -1 if it lies outside. cells: M. tokens [T, 3]: bag, row, column.
    offsets [B + 1] of tokens. windows [25, T]: the cells that each token sees, see
    ``window_cells``.
    """

    cell: Tensor
    cells: int
    tokens: Tensor
    offsets: Tensor
    windows: Tensor


class GridLayer(nn.Module):
    """A pre-norm transformer layer of class token and tokens on a grid."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = PositionalAttention(width, heads, dropout=dropout)
        self.mlp = normed_mlp(width, 4 * width, dropout)

    def forward(self, x: Tensor, offsets: Tensor, positions: Tensor) -> Tensor:
        """Return [T, H]."""
        x = x + self.attention(self.norm(x), offsets, positions)
        return x + self.mlp(x)


@register("setmil")
class SETMIL(BagModel):
    """Spatial-encoding transformer over the map of a slide (Zhao et al., MICCAI 2022).

    Instances lie on the map of their slide. A T2T layer with windows of 5 x 5 reduces the map by a
    stride and the features to few channels; three more, with windows of 3, 5 and 7, look at it at
    several scales, and what they say is joined. Transformer layers with iRPE (Euclidean distance,
    a bias on queries) follow, and the vector is what their class token becomes, behind a LayerNorm.
    See ``mil.nn.tokens_to_token`` and ``mil.nn.positional_attention``.

    Published (preset ``paper``) is a fixed map of 48 x 48 cells, its top left corner: instances
    outside are lost, those of one cell are added up, empty cells are tokens like others, and they
    are told apart by a sinusoid of their number, row by row. Here only places with an instance are
    tokens, wherever they are, with a sinusoid of row and column, and instances of one cell are
    averaged. What T2T makes of a window is the same.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    reduced : channels of the reduced map.
    pyramid : channels of each of the three scales, and so a third of the width H of the transformer
        and the bag embedding; None leaves them out, and H is ``reduced``.
    layers, heads : of the transformer; heads divide H.
    stride : of the reduction, at most 4; bags of more than 20,000 instances have 4.
    canvas : side of a fixed map, or None.
    dropout : in all layers.

    Shapes
    ------
    features [N, D] and coords [N, 2] of one bag, or packed with offsets [B + 1]; returns vector
    [B, H], scores [N].

    Notes
    -----
    An instance's share is what the class token gives, in the last layer, to the tokens whose
    windows it is in, each divided among the instances of its window; the score is its logarithm.

    Time grows with T^2, T the tokens after reduction, about a quarter of the instances or, of large
    bags, a sixteenth; memory with N D + T H. MEASURED

    Elsewhere tokens are reshaped instead of transposed, so that they are not patches, and padding
    overwrites cell (0, 0).
    """

    needs: ClassVar[tuple[str, ...]] = ("coords",)
    presets: ClassVar = {
        "paper": Preset(
            {"canvas": 48},
            {
                "optimiser": "adamw",
                "learning_rate": 2e-4,
                "weight_decay": 1e-4,
                "l1": 0.0,
                "epochs": 100,
                "window": 4,
            },
        )
    }

    def __init__(
        self,
        in_dim: int,
        reduced: int = 128,
        pyramid: int | None = 64,
        layers: int = 6,
        heads: int = 16,
        stride: int = 2,
        canvas: int | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stride, self.canvas = stride, canvas
        width = reduced if pyramid is None else len(PYRAMID) * pyramid
        self.out_dim = width
        self.reduce = TokensToToken(in_dim, reduced, REDUCE, dropout)
        self.pyramid = nn.ModuleList(
            TokensToToken(reduced, pyramid, side, dropout) for side in PYRAMID if pyramid
        )
        self.token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.layers = nn.ModuleList(GridLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and scores [N], the logarithm of a patch's share but a constant."""
        found = self._map(bag)
        x = self.reduce(self._cells(bag.features, found), found.windows, found.offsets)
        if self.pyramid:
            x = torch.cat([self._scale(layer, x, found) for layer in self.pyramid], 1)  # [T, H]
        x = x + self._codes(found.tokens).to(x.dtype)

        first = found.offsets[:-1] + torch.arange(len(bag), device=x.device)
        offsets = found.offsets + torch.arange(len(bag) + 1, device=x.device)
        behind = torch.arange(len(x), device=x.device) + 1 + found.tokens[:, 0]
        token = (self.token + self._class_code().to(self.token)).to(x.dtype)
        tokens = token.expand(len(x) + len(bag), -1).index_copy(0, behind, x)
        positions = found.tokens.new_zeros(len(tokens), 2)
        positions[behind] = found.tokens[:, 1:]

        row = None
        for layer in self.layers:
            if layer is self.layers[-1]:
                row = layer.attention.class_row(layer.norm(tokens), offsets, positions)[behind]
            tokens = layer(tokens, offsets, positions)
        return Embedding(self.norm(tokens[first]), self._scores(row, found))

    def _map(self, bag: Bag) -> Map:
        at = grid_positions(bag, self.name)  # [N, 2]
        cell, tokens, windows, cells, ends = [], [], [], 0, [0]
        for number, (start, end) in enumerate(pairwise(bag.offsets.tolist())):
            stride = 4 if end - start > LARGE else self.stride
            own = at[start:end]
            inside = torch.ones(len(own), dtype=torch.bool, device=own.device)
            if self.canvas is not None:
                inside = (own < self.canvas).all(1)
                side = torch.arange((self.canvas - 1) // stride + 1, device=own.device)
                centres = torch.cartesian_prod(side, side)
            else:
                centres = torch.div(own + stride // 2, stride, rounding_mode="floor").unique(dim=0)
            taken, of = own[inside].unique(dim=0, return_inverse=True)
            place = own.new_full((len(own),), -1)
            place[inside] = of + cells
            seen = window_cells(_of_bag(taken), _of_bag(centres), REDUCE, stride)
            cell.append(place)
            tokens.append(_of_bag(centres, number))
            windows.append(torch.where(seen >= 0, seen + cells, -1))
            cells += len(taken)
            ends.append(ends[-1] + len(centres))
        offsets = torch.tensor(ends, device=at.device)
        return Map(torch.cat(cell), cells, torch.cat(tokens), offsets, torch.cat(windows, 1))

    def _cells(self, features: Tensor, found: Map) -> Tensor:
        """Return what is in each cell [M, D]."""
        inside = found.cell >= 0
        if found.cells == len(features):
            return torch.empty_like(features).index_copy(0, found.cell, features)
        cell = found.cell[inside]
        total = features.new_zeros(found.cells, features.shape[1])
        total = total.index_add(0, cell, features[inside])
        if self.canvas is not None:
            return total
        return total / torch.bincount(cell, minlength=found.cells).unsqueeze(1)

    def _scale(self, layer: TokensToToken, x: Tensor, found: Map) -> Tensor:
        return layer(x, window_cells(found.tokens, found.tokens, layer.kernel), found.offsets)

    def _codes(self, tokens: Tensor) -> Tensor:
        """Return what tells tokens apart [T, H]."""
        if self.canvas is None:
            return grid_sinusoid(tokens[:, 1:], self.out_dim)
        side = (self.canvas - 1) // self.stride + 1
        return sinusoid(1 + tokens[:, 1] * side + tokens[:, 2], self.out_dim)

    def _class_code(self) -> Tensor:
        """Return what is added to the class token [H], which is nowhere, or at position 0."""
        if self.canvas is None:
            return torch.zeros(self.out_dim)
        return sinusoid(torch.zeros(1), self.out_dim)[0]

    @torch.no_grad()
    def _scores(self, row: Tensor, found: Map) -> Tensor:
        """Return the logarithm of each instance's share [N] of its bag's tokens' attention [T]."""
        here = found.cell.clamp(min=0)
        inside = found.cell >= 0
        count = torch.bincount(here[inside], minlength=found.cells)  # [M]
        there = found.windows >= 0  # [25, T]
        window = (count[found.windows.clamp(min=0)] * there).sum(0)  # [T], of instances
        each = (row / window.clamp(min=1)).expand_as(there)[there]
        share = row.new_zeros(found.cells).index_add(0, found.windows[there], each)  # [M]
        share = share[here] * inside
        return share.clamp(min=torch.finfo(share.dtype).tiny).log()


def _of_bag(at: Tensor, number: int = 0) -> Tensor:
    """Return bag, row and column [T, 3] of rows and columns [T, 2]."""
    return torch.cat([at.new_full((len(at), 1), number), at], 1)
