"""The highest instances speak for the bag together."""

from torch import Tensor

from mil.bags import Bag
from mil.models import register
from mil.models.instance_level import InstanceLevel
from mil.nn.segments import segment_rank, segment_sum


@register("topk")
class TopK(InstanceLevel):
    r"""Mean over the k highest instance logits of each output.

    .. math:: y_c = \frac{1}{k'} \sum_{n \in T_c} w_c^\top \mathrm{ReLU}(W x_n + b) + b_c

    with :math:`T_c` the :math:`k' = \min(k, n)` instances of the highest logits. Less at the mercy
    of one artefact than the maximum of mi-Net (``instance_max``); a bag of fewer than k instances
    can be lowered by one more.

    Parameters
    ----------
    in_dim, hidden, dropout, outputs : see ``InstanceLevel``.
    k : instances that count.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int | None = 384,
        k: int = 8,
        dropout: float = 0.25,
        *,
        outputs: int = 1,
    ) -> None:
        super().__init__(in_dim, hidden, dropout, outputs)
        self.k = k

    def pool(self, logits: Tensor, bag: Bag) -> Tensor:
        """Return the mean [B, C] of the k highest of each bag."""
        counted = segment_rank(logits.detach(), bag.offsets) < self.k  # [N, C]
        total = segment_sum(logits * counted, bag.offsets)
        return total / bag.offsets.diff().clamp(max=self.k).unsqueeze(1)
