"""Attention-based multiple-instance learning, as published and in the shape AdvMIL gives it."""

from typing import ClassVar

from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention import AttentionPool
from mil.nn.dropout import ReLUDropout
from mil.nn.embed import instance_embedding
from mil.nn.initialise import xavier_linear_


@register("abmil")
class ABMIL(BagModel):
    r"""Attention-based MIL pooling (Ilse, Tomczak and Welling, ICML 2018).

    .. math::

        h_n = \mathrm{ReLU}(W x_n + b), \qquad z = \sum_n a_n h_n, \qquad
        a = \mathrm{softmax}_n\, w^\top (\tanh(V h_n) \odot \sigma(U h_n))

    and, with ``out``, one more layer with ReLU on z. Defaults and start are those of AdvMIL's ABMIL
    backbone, 1024-384-384 (Liu et al., Medical Image Analysis 2024). Preset ``paper`` is the
    article's form on features (for images see ``mil.nn.lenet``), ``wsi`` the usual one on whole
    slides, ``torchmil`` that library's, without W.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the instance embedding h; None for h = x.
    out : width of the last layer and of the bag embedding, H; None for the embedding z itself.
    attention : width of the attention; None for as wide as h.
    dropout : after both layers. Inside the attention it is always 0.25 or, when this is 0, 0.
    gated : multiply tanh by the sigmoid gate.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, H], scores [N]
    and pooled [N, H].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024 peaks at 1.2 GB in training (preset ``torchmil``).
    """

    presets: ClassVar = {
        "paper": Preset(
            {"hidden": 500, "out": None, "attention": 128, "gated": False, "dropout": 0.0},
            {
                "learning_rate": 5e-4,
                "schedule": "constant",
                "weight_decay": 1e-4,
                "epochs": 20,
                "window": 1,
                "l1": 0.0,
            },
        ),
        "torchmil": Preset(
            {"hidden": None, "out": None, "attention": 128, "gated": False, "dropout": 0.0},
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "epochs": 50,
                "window": 1,
                "l1": 0.0,
            },
        ),
        "wsi": Preset({"hidden": 512, "out": None, "attention": 256}),
    }

    def __init__(
        self,
        in_dim: int,
        hidden: int | None = 384,
        out: int | None = 384,
        attention: int | None = None,
        dropout: float = 0.25,
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.embed, width = instance_embedding(in_dim, hidden, dropout)
        self.pool = AttentionPool(
            width, attention or width, gated, dropout=0.25 if dropout > 0 else 0.0
        )
        self.rho = None
        if out is not None:
            self.rho = nn.Sequential(nn.Linear(width, out), ReLUDropout(dropout))
        self.out_dim = out or width
        self.bends = self.rho is not None
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        h = self.embed(bag.features)  # [N, hidden]
        z, scores = self.pool(h, bag.offsets)  # [B, hidden], [N]
        return Embedding(self.after_pooling(z), scores, pooled=h)

    def after_pooling(self, average: Tensor) -> Tensor:
        """Return the vector [B, H] of the attention's average z [B, hidden]."""
        return average if self.rho is None else self.rho(average)
