"""What models that classify instances and pool their logits share."""

from typing import ClassVar

from torch import Tensor, nn

from mil.bags import Bag
from mil.models.base import BagModel, Embedding
from mil.nn.embed import instance_embedding
from mil.nn.initialise import xavier_linear_


class InstanceLevel(BagModel):
    """Base of models whose output is pooled from the outputs of instances.

    The vector is the head's output, for any head (``gives_outputs``): a further layer could turn
    what an instance says into its opposite.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of a layer with ReLU before the classifier; None for a linear classifier.
    dropout : after it.
    outputs : number of outputs, C.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, C],
    instance_logits [N, C], scores [N]: the largest of an instance's logits.
    """

    gives_outputs: ClassVar[bool] = True
    scores_are: ClassVar[str] = "evidence"

    def __init__(self, in_dim: int, hidden: int | None, dropout: float, outputs: int) -> None:
        super().__init__()
        self.embed, width = instance_embedding(in_dim, hidden, dropout)
        self.classify = nn.Linear(width, outputs)
        self.out_dim = outputs
        xavier_linear_(self)

    def pool(self, logits: Tensor, bag: Bag) -> Tensor:
        """Return the outputs [B, C] of bags from those of their instances [N, C]."""
        raise NotImplementedError

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, C], scores [N] and instance_logits [N, C]."""
        logits = self.classify(self.embed(bag.features))  # [N, C]
        return Embedding(self.pool(logits, bag), logits.amax(1), instance_logits=logits)
