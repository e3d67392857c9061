"""SETMIL."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention_encoder import normed_mlp
from mil.nn.instance_linear import InstanceLinear
from mil.nn.positional_attention import PositionalAttention
from mil.nn.reduced_map import ReducedMap, reduced_side
from mil.nn.sinusoid import grid_sinusoid, sinusoid
from mil.nn.tokens_to_token import TokensToToken

WINDOW = 5
"""Side of the windows by which maps are reduced."""
PYRAMID = (3, 5, 7)
LARGE = 20_000
"""Instances from which on a bag's map is reduced by 4, not 2, in rows and columns."""


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

    def of_class(self, x: Tensor, offsets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class tokens [B, H] alone, and what they give to all tokens [T]."""
        heard, row = self.attention.of_class(self.norm(x), offsets, positions)
        token = x[offsets[:-1]] + heard
        return token + self.mlp(token), row


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

    torchmil's is another network: a linear layer in the place of the reduction, scales as wide as
    what they look at, joined by a linear layer, and one transformer layer. Preset ``torchmil`` is
    this much of it. Not in it are: layers of scales with four heads, a linear layer of the window
    as their residual and MLPs four times as wide, which make it 97,628,929 parameters at a width of
    1024 where the preset has 72,190,497; positions by product of offsets on keys; and its errors:
    attention whose heads mix tokens and channels, so that its weights say nothing here, and those
    below.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    reduced : channels of the reduced map.
    pyramid : channels of each of the three scales; None leaves them out.
    join : width H of the transformer and the bag embedding, by a linear layer of what the scales
        say; None: no such layer, and H is 3 ``pyramid``, or ``reduced`` without scales.
    layers, heads : of the transformer; heads divide H.
    stride : of the reduction, at most 4; bags of more than 20,000 instances have 4. None: the map
        is not reduced, and its cells become narrower by a linear layer each.
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
    bags, a sixteenth; memory with N D + T H. Training on 5,000 instances of width 1024 peaks at
    1.8 GiB on a CPU, 0.6 of them the bag and PyTorch. A step on 100,000, which are 6,400 tokens,
    takes 3.5 GB more than bag and PyTorch (1.0 GB), and five minutes of one core. Preset
    ``torchmil`` has a token for each instance: it is for bags of some thousand.

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
                "clip_norm": 0.01,
                "schedule": "steps",
                "step_epochs": [40],
                "epochs": 100,
                "patience": 100,
                "window": 4,
            },
        ),
        "torchmil": Preset(
            {
                "reduced": 512,
                "pyramid": 512,
                "join": 512,
                "layers": 1,
                "heads": 4,
                "stride": None,
                "dropout": 0.0,
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
        reduced: int = 128,
        pyramid: int | None = 64,
        join: int | None = None,
        layers: int = 6,
        heads: int = 16,
        stride: int | None = 2,
        canvas: int | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stride, self.canvas = stride, canvas
        if stride is None:
            self.reduce = InstanceLinear(in_dim, reduced)
        else:
            self.reduce = TokensToToken(in_dim, reduced, WINDOW, dropout)
        self.pyramid = nn.ModuleList(
            TokensToToken(reduced, pyramid, side, dropout) for side in PYRAMID if pyramid
        )
        width = reduced if pyramid is None else len(PYRAMID) * pyramid
        self.join = nn.Identity() if join is None else nn.Linear(width, join)
        self.out_dim = width = join or width
        self.token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.layers = nn.ModuleList(GridLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and scores [N], the logarithm of a patch's share but a constant."""
        kernel = 1 if self.stride is None else WINDOW
        found = ReducedMap.of(bag, self.name, self._strides(bag), kernel, self.canvas)
        x = self._reduced(bag, found)  # [T, reduced]
        if self.pyramid:
            scales = [t(x, found.around(t.kernel), found.offsets) for t in self.pyramid]
            x = torch.cat(scales, 1)
        x = self.join(x)  # [T, H]
        of_class, of_tokens = self._codes(found.tokens)

        bags = torch.arange(len(bag) + 1, device=x.device)
        offsets = found.offsets + bags  # with a class token before each bag's
        behind = torch.arange(len(x), device=x.device) + 1 + found.tokens[:, 0]
        tokens = (self.token + of_class).to(x.dtype).expand(len(x) + len(bag), -1)
        tokens = tokens.index_copy(0, behind, x + of_tokens.to(x.dtype))
        positions = found.tokens.new_zeros(len(tokens), 2)
        positions[behind] = found.tokens[:, 1:]
        *layers, last = self.layers
        for layer in layers:
            tokens = layer(tokens, offsets, positions)
        token, row = last.of_class(tokens, offsets, positions)  # [B, H], [T + B]
        share = found.shares(row[behind])
        scores = share.clamp(min=torch.finfo(share.dtype).tiny).log()
        return Embedding(self.norm(token), scores)

    def _reduced(self, bag: Bag, found: ReducedMap) -> Tensor:
        """Return the tokens [T, reduced]."""
        cells = found.gather(bag.features, average=self.canvas is None)  # [M, D]
        if self.stride is None:
            return pad(self.reduce(cells), (0, 0, 1, 0))[found.windows[0] + 1]
        return self.reduce(cells, found.windows, found.offsets)

    def _strides(self, bag: Bag) -> list[int]:
        if self.stride is None:
            return [1] * len(bag)
        large = LARGE if self.canvas is None else math.inf  # a canvas has its size already
        return [4 if size > large else self.stride for size in bag.sizes]

    def _codes(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added to the class token [H] and to others [T, H], to tell them apart."""
        if self.canvas is None:
            return torch.zeros_like(self.token), grid_sinusoid(tokens[:, 1:], self.out_dim)
        number = 1 + tokens[:, 1] * reduced_side(self.canvas, self.stride or 1) + tokens[:, 2]
        codes = sinusoid(torch.cat([number.new_zeros(1), number]), self.out_dim)
        return codes[0].to(self.token.dtype), codes[1:]
