"""CLAM with an attention branch for each class."""

from typing import ClassVar

import torch
from torch import Tensor

from mil.bags import Bag
from mil.models import register
from mil.models.base import Embedding
from mil.models.clam import CLAM


@register("clam_mb")
class CLAMMB(CLAM):
    r"""CLAM-MB: every class has its own attention and its own classifier of bags (see ``CLAM``).

    .. math:: y_c = u_c^\top z_c + b_c

    The vector is the head's output, for any head (``gives_outputs``). With one output, as of a Cox
    risk or of two classes by one sigmoid, there is one branch: two classes by softmax have two.

    Parameters
    ----------
    All : see ``CLAM``.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, C], class_scores
    [N, C], scores [N]: the largest of them, and instance_logits [N, C] (in evaluation).
    """

    gives_outputs: ClassVar[bool] = True

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, C], raw attention [N, C] and what instances are of each class."""
        h = self.embed(bag.features)  # [N, H]
        z, scores = self.pool(h, bag.offsets)  # [B, C, H], [N, C]
        return Embedding(
            self.after_pooling(z),
            scores.amax(1),
            instance_logits=self.of_all(h),
            class_scores=scores,
            pooled=h,
        )

    def after_pooling(self, average: Tensor) -> Tensor:
        """Return the outputs [B, C] of every class's average [B, C, H]."""
        parts = zip(self.classifiers, average.unbind(1), strict=True)
        return torch.cat([classify(of_class) for classify, of_class in parts], 1)
