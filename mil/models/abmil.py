"""Attention-based multiple-instance learning, in the shape AdvMIL gives it."""

from torch import Tensor, nn

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding
from mil.nn.attention import AttentionPool
from mil.nn.dropout import ReLUDropout
from mil.nn.initialise import xavier_linear_
from mil.nn.instance_linear import InstanceLinear


@register("abmil")
class ABMIL(BagModel):
    r"""Attention-based MIL pooling (Ilse, Tomczak and Welling, ICML 2018).

    .. math::

        h_n = \mathrm{ReLU}(W x_n + b), \qquad z = \sum_n a_n h_n, \qquad
        a = \mathrm{softmax}_n\, w^\top (\tanh(V h_n) \odot \sigma(U h_n))

    then one more layer with ReLU on z. The widths and the start are those of AdvMIL's ABMIL
    backbone, 1024-384-384 (Liu et al., Medical Image Analysis 2024).

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the instance embedding h and of the attention.
    out : width of the bag embedding, H.
    dropout : after both layers. Inside the attention it is always 0.25 or, when this is 0, 0.
    gated : multiply tanh by the sigmoid gate.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, H], scores [N].
    """

    bends = True

    def __init__(
        self,
        in_dim: int,
        hidden: int = 384,
        out: int = 384,
        dropout: float = 0.25,
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.out_dim = out
        self.embed = nn.Sequential(InstanceLinear(in_dim, hidden), ReLUDropout(dropout))
        self.pool = AttentionPool(hidden, hidden, gated, dropout=0.25 if dropout > 0 else 0.0)
        self.rho = nn.Sequential(nn.Linear(hidden, out), ReLUDropout(dropout))
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        h = self.embed(bag.features)  # [N, hidden]
        z, scores = self.pool(h, bag.offsets)  # [B, hidden], [N]
        return Embedding(self.after_pooling(z), scores, pooled=h)

    def after_pooling(self, average: Tensor) -> Tensor:
        """Return the vector [B, H] of the attention's average z [B, hidden]."""
        return self.rho(average)
