"""A transformer of the instances of each bag, norms first."""

from collections.abc import Sequence

from torch import Tensor, nn

from mil.nn.dropout import Dropout
from mil.nn.recompute import recomputed_rows
from mil.nn.self_attention import SelfAttention, Smoothing


class EncoderLayer(nn.Module):
    r"""One pre-norm layer of a transformer (Xiong et al., ICML 2020), D wide outside and H inside.

    .. math::

        u = P x + \mathrm{Attention}(\mathrm{LN}(x)), \qquad
        y = Q\,(u + \mathrm{MLP}(\mathrm{LN}(u)))

    with MLP two linear layers, 4 H wide between, GELU, and dropout behind both. P and Q are linear
    layers where D and H differ, else nothing; without ``back`` there is no Q.

    Parameters
    ----------
    width : of the instances, D.
    hidden : width H inside.
    heads : of the attention.
    mlp : have the second step.
    dropout : in the MLP.
    project : the attention's output projection.
    back : return instances as wide as they came.

    Shapes
    ------
    x [N, D], offsets [B + 1] -> [N, D]; without ``back`` [N, H].
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        mlp: bool = True,
        dropout: float = 0.0,
        project: bool = True,
        back: bool = True,
    ) -> None:
        super().__init__()
        same = width == hidden
        self.enter = nn.Identity() if same else nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, hidden, heads, project)
        self.mlp = None
        if mlp:
            self.mlp = normed_mlp(hidden, 4 * hidden, dropout)
        self.leave = nn.Identity() if same or not back else nn.Linear(hidden, width)

    def forward(self, x: Tensor, offsets: Tensor, smooth: Smoothing | None = None) -> Tensor:
        """Return the instances; ``smooth`` is applied to the attention's joined heads, [N, H]."""
        u = self.enter(x) + self.attention(x, offsets, smooth, self.norm)  # [N, H]
        if self.mlp is not None:
            u = u + recomputed_rows(self.mlp, u, wide=4)
        return self.leave(u)


def normed_mlp(width: int, inner: int, dropout: float) -> nn.Sequential:
    """Return a LayerNorm and two linear layers with GELU between and dropout behind both."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, inner),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(inner, width),
        Dropout(dropout),
    )


class AttentionEncoder(nn.Module):
    """A stack of ``EncoderLayer`` and a last LayerNorm.

    Parameters
    ----------
    width, hidden, heads, mlp, dropout, project : of each layer.
    layers : how many.
    add_self : add the encoder's input to what comes of every layer.

    Shapes
    ------
    x [N, D], offsets [B + 1] -> [N, D].
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        layers: int = 1,
        mlp: bool = True,
        dropout: float = 0.0,
        add_self: bool = True,
        project: bool = True,
    ) -> None:
        super().__init__()
        self.add_self = add_self
        self.layers = nn.ModuleList(
            EncoderLayer(width, hidden, heads, mlp, dropout, project) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, offsets: Tensor, smooth: Sequence[Smoothing] | None = None
    ) -> Tensor:
        """Return [N, D]; ``smooth`` has a function for each layer."""
        y = x
        for layer, one in zip(self.layers, smooth or [None] * len(self.layers), strict=True):
            y = layer(y, offsets, one)
            if self.add_self:
                y = y + x
        return self.norm(y)
