"""The mean of the instances."""

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding
from mil.nn.embed import instance_embedding
from mil.nn.initialise import xavier_linear_
from mil.nn.segments import segment_mean


@register("mean")
class Mean(BagModel):
    r"""Mean pooling (Wang et al., "Revisiting multiple instance neural networks", 2018).

    .. math:: z = \frac{1}{n} \sum_n \mathrm{ReLU}(W x_n + b)

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the instance embedding and of the bag's, H; None for the features themselves.
    dropout : after W.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, H], scores [N],
    all 0: every instance counts the same.
    """

    def __init__(self, in_dim: int, hidden: int | None = 384, dropout: float = 0.25) -> None:
        super().__init__()
        self.embed, self.out_dim = instance_embedding(in_dim, hidden, dropout)
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and scores [N]."""
        h = self.embed(bag.features)  # [N, H]
        vector = segment_mean(h, bag.offsets)
        return Embedding(vector, vector.new_zeros(len(h)), pooled=h)
