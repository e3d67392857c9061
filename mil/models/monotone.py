"""A bag is what evidence it has: nothing in it can lower the output."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.instance_linear import InstanceLinear
from mil.nn.segments import at_least_single, segment_max


@register("monotone")
class Monotone(BagModel):
    r"""Monotone function of maxima: the positive control of the algorithmic unit tests (4.1).

    .. math::

        e_n = \mathrm{MLP}(x_n), \qquad E_k = \max_n e_{nk}, \qquad
        y_c = \sum_j \mathrm{sp}(v_{cj})\, 4 \tanh\Bigl(\sum_k \mathrm{sp}(w_{jk}) E_k + b_j\Bigr)
        + b_c

    with sp the softplus. All that follows the maximum rises with every :math:`E_k`, so one more
    instance can never lower an output: absence is no evidence, and neither is an artefact that only
    negative bags have in training (Raff and Holt, NeurIPS 2023). Unlike the maximum over instances
    it can ask for several kinds of instances at once.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of the two hidden layers of the MLP and, a quarter each, of its output and of the
        layer j: 64, 64 and 16 by default.
    outputs : number of outputs, C.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, C],
    instance_logits [N, C]: the output of a bag of this instance alone, never above its bag's; and
    scores [N]: the largest of them.
    """

    gives_outputs: ClassVar[bool] = True
    scores_are: ClassVar[str] = "evidence"
    presets: ClassVar = {
        "unit_tests": Preset(
            {}, {"learning_rate": 3e-3, "schedule": "cosine", "epochs": 12, "window": 8, "l1": 0.0}
        )
    }

    def __init__(self, in_dim: int, hidden: int = 64, *, outputs: int = 1) -> None:
        super().__init__()
        kinds = max(hidden // 4, 1)
        self.out_dim = outputs
        self.evidence = nn.Sequential(
            InstanceLinear(in_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, kinds),
        )
        # Softplus makes weights of them: about 0.13 each, so that tanh starts near its middle.
        self.inner = nn.Parameter(torch.empty(kinds, kinds).uniform_(-2.5, -1.5))
        self.inner_bias = nn.Parameter(torch.randn(kinds))
        self.outer = nn.Parameter(torch.empty(outputs, kinds).uniform_(-2.5, -1.5))
        self.outer_bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, C], scores [N] and instance_logits [N, C]."""
        evidence = at_least_single(self.evidence(bag.features))  # [N, K]
        vector = self._rising(segment_max(evidence, bag.offsets))
        alone = self._rising(evidence)
        return Embedding(vector, alone.amax(1), instance_logits=alone)

    def _rising(self, evidence: Tensor) -> Tensor:
        """Return outputs [..., C] that rise with every column of evidence [..., K]."""
        inner = evidence @ softplus(self.inner).T + self.inner_bias
        return 4 * inner.tanh() @ softplus(self.outer).T + self.outer_bias
