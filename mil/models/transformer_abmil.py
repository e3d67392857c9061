"""ABMIL behind a transformer."""

from typing import ClassVar

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention import AttentionPool
from mil.nn.attention_encoder import AttentionEncoder


@register("transformer_abmil")
class TransformerABMIL(BagModel):
    r"""Attention pooling of instances that a transformer let hear of each other.

    .. math::

        y = \mathrm{LN}(\mathrm{Layer}(x) + x), \qquad
        z = \sum_n \mathrm{softmax}_n(w^\top \tanh(V y_n + v))\, y_n

    for one layer, with :math:`\mathrm{Layer}` that of ``mil.nn.attention_encoder``. This is the
    TransformerABMIL that Castro-Macias et al. (NeurIPS 2024, arXiv 2410.03276) compare with, in the
    form of their library torchmil, whose attention has no output projection unless widths differ
    (preset ``torchmil``: the reference, there is no other). Ours has one, as transformers do.

    Parameters
    ----------
    in_dim : width D of the instance features and of the bag embedding.
    hidden : width of the transformer.
    heads : of its attention; they divide ``hidden``.
    layers : of the transformer.
    mlp : have the second step of each layer.
    add_self : add the features to what comes of every layer.
    project : the output projection of the attention.
    attention : width of the pooling's V.
    gated : multiply the pooling's tanh by a sigmoid gate.
    dropout : in the second step of each layer.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, D], scores [N].

    Notes
    -----
    Time grows with N^2, memory with N: training on 16,000 instances of width 1024 takes 0.6 GB on a
    CPU beside the bag and PyTorch; a step of preset ``torchmil`` 0.55 GB on 16,384, 1.0 GB on
    32,768 and less than 5 GB on 100,000, and there 16 minutes of a core. Elsewhere a mask makes
    memory N^2.
    """

    presets: ClassVar = {
        name: Preset(
            {"project": False},
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "epochs": 50,
                "window": 1,
                "weight_decay": 0.0,
                "l1": 0.0,
            },
        )
        for name in ("paper", "torchmil")
    }

    def __init__(
        self,
        in_dim: int,
        hidden: int = 512,
        heads: int = 8,
        layers: int = 1,
        mlp: bool = True,
        add_self: bool = True,
        project: bool = True,
        attention: int = 128,
        gated: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_dim = in_dim
        self.encoder = AttentionEncoder(
            in_dim, hidden, heads, layers, mlp, dropout, add_self, project
        )
        self.pool = AttentionPool(in_dim, attention, gated)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, D] and raw attention scores [N]."""
        y = self.encoder(bag.features, bag.offsets)  # [N, D]
        vector, scores = self.pool(y, bag.offsets)  # [B, D], [N]
        return Embedding(vector, scores, pooled=y)
