"""The highest instance speaks for the bag."""

from torch import Tensor

from mil.bags import Bag
from mil.models import register
from mil.models.instance_level import InstanceLevel
from mil.nn.segments import segment_max


@register("instance_max")
class InstanceMax(InstanceLevel):
    r"""Maximum over instance logits, mi-Net (Wang et al., Pattern Recognition 2018).

    .. math:: y_c = \max_n\, w_c^\top \mathrm{ReLU}(W x_n + b) + b_c

    A further instance can only raise an output, so with one sigmoid it respects the assumption of
    multiple-instance learning: a bag is positive because of what it has, never because of what it
    lacks. It cannot learn that two kinds of instances must come together. With a Cox head the risk
    is that of the worst instance.

    Parameters
    ----------
    in_dim, hidden, dropout, outputs : see ``InstanceLevel``.
    """

    def __init__(
        self, in_dim: int, hidden: int | None = 384, dropout: float = 0.25, *, outputs: int = 1
    ) -> None:
        super().__init__(in_dim, hidden, dropout, outputs)

    def pool(self, logits: Tensor, bag: Bag) -> Tensor:
        """Return the maximum [B, C] over the instances of each bag."""
        return segment_max(logits, bag.offsets)
