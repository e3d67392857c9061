"""The maximum of the instances, feature by feature."""

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding
from mil.nn.embed import instance_embedding
from mil.nn.initialise import xavier_linear_
from mil.nn.segments import segment_max, segment_sum


@register("max")
class Max(BagModel):
    r"""Maximum pooling of embeddings, MI-Net (Wang et al., Pattern Recognition 2018).

    .. math:: z_d = \max_n\, \mathrm{ReLU}(W x_n + b)_d

    What follows may count a feature *against* a class, so an instance can make a bag negative.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the instance embedding and of the bag's, H; None for the features themselves.
    dropout : after W.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, H], scores [N]:
    the share of the H features whose maximum an instance is (with k others it has 1 / (k + 1)).
    """

    scores_are = "evidence"

    def __init__(self, in_dim: int, hidden: int | None = 384, dropout: float = 0.25) -> None:
        super().__init__()
        self.embed, self.out_dim = instance_embedding(in_dim, hidden, dropout)
        xavier_linear_(self)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and scores [N]."""
        h = self.embed(bag.features)  # [N, H]
        vector = segment_max(h, bag.offsets)
        sizes = bag.offsets.diff()
        largest = (h == vector.repeat_interleave(sizes, 0)).float()  # [N, H]
        shared = segment_sum(largest, bag.offsets).repeat_interleave(sizes, 0)
        return Embedding(vector, (largest / shared).mean(1))
