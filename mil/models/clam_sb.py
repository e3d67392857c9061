"""CLAM with a single attention branch."""

from typing import ClassVar

from mil.bags import Bag
from mil.models import register
from mil.models.base import Embedding, Preset
from mil.models.clam import CLAM


@register("clam_sb")
class CLAMSB(CLAM):
    """CLAM-SB: one attention for all classes, on which any head stands (see ``CLAM``).

    Preset ``paper`` has the SVM as clustering loss, ``torchmil`` is that library's form, without W
    and with all losses at weight 1. Instances are clustered where the head knows the class of a
    bag: of survival in time bins, each bin is one.

    Parameters
    ----------
    All : see ``CLAM``.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, H], scores [N],
    instance_logits [N, C] (in evaluation) and pooled [N, H].
    """

    presets: ClassVar = {
        **CLAM.presets,
        "torchmil": Preset(
            {
                "hidden": None,
                "attention": 128,
                "gated": False,
                "dropout": 0.0,
                "k": 10,
                "subtyping": True,
                "bag_weight": 1.0,
                "clustering_weight": 1.0,
            },
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "epochs": 50,
                "window": 1,
                "l1": 0.0,
            },
        ),
    }

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H], raw attention [N] and what instances are of each class [N, C]."""
        h = self.embed(bag.features)  # [N, H]
        vector, scores = self.pool(h, bag.offsets)
        return Embedding(vector, scores, instance_logits=self.of_all(h), pooled=h)
