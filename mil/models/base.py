"""What every model is: a function from a bag to an embedding. It never knows what is predicted."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mil.bags import Bag


@dataclass
class Embedding:
    """What a model says of B bags with N instances together.

    Shapes
    ------
    vector [B, H]: what a head predicts from. scores [N]: raw instance scores, before the softmax
    over the bag. penalty [B]: the model's own, already weighted term of the training loss, if any.
    """

    vector: Tensor
    scores: Tensor
    penalty: Tensor | None = None


class BagModel(nn.Module):
    """Base of all models.

    Attributes
    ----------
    out_dim : width H of the embedding; every model sets it.
    needs : what it reads of a bag besides features: ``"graph"``, ``"cluster"``, ``"coords"``.
    reads_regions : rows ``16k .. 16k+15`` of its bags must be the regions of a slide.
    order_free : reordering a bag's instances (its regions and the instances inside each, for a
        model that reads regions) leaves its vector unchanged.
    """

    name: str
    out_dim: int
    needs: ClassVar[tuple[str, ...]] = ()
    reads_regions: ClassVar[bool] = False
    order_free: ClassVar[bool] = True

    def forward(self, bag: Bag) -> Embedding:
        """Return the embedding of each bag."""
        raise NotImplementedError
