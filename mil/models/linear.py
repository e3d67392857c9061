"""A linear probe on the mean of the features."""

from torch import Tensor

from mil.bags import Bag
from mil.models import register
from mil.models.instance_level import InstanceLevel
from mil.nn.segments import segment_mean


@register("linear")
class LinearProbe(InstanceLevel):
    r"""Linear probe on the mean, :math:`y = W \frac{1}{n}\sum_n x_n + b`.

    What an encoder's features say without anything learnt of instances: the floor of every
    comparison. It is the mean of the instances' own outputs :math:`W x_n + b`, so these are exact
    contributions. With a Cox head it is Cox's regression on mean features.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    outputs : number of outputs, C.
    """

    def __init__(self, in_dim: int, *, outputs: int = 1) -> None:
        super().__init__(in_dim, None, 0.0, outputs)

    def pool(self, logits: Tensor, bag: Bag) -> Tensor:
        """Return the mean [B, C] over each bag."""
        return segment_mean(logits, bag.offsets)
