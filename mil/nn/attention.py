"""Attention pooling over the instances of a bag."""

from torch import Tensor, nn

from mil.nn.dropout import Dropout, SigmoidDropout
from mil.nn.instance_linear import FeatureLinear
from mil.nn.segments import bag_softmax, segment_pool, weighted_sum
from mil.nn.tanh import Tanh


class AttentionPool(nn.Module):
    r"""Attention pooling, plain or gated (Ilse, Tomczak and Welling, ICML 2018).

    .. math::

        f_n = w^\top (\tanh(V x_n + v) \odot \sigma(U x_n + u)) + c, \qquad
        z = \sum_n \mathrm{softmax}_n(f)\, x_n

    Without ``gated`` the sigmoid factor is absent.

    Parameters
    ----------
    width : width D of the instances.
    hidden : width of V and U.
    gated : multiply by the sigmoid gate.
    dropout : share dropped of each factor, independently of the other.
    branches : number C of vectors w on the same hidden layer, each with a softmax and a sum of its
        own; None for one.

    Shapes
    ------
    x [N, D], offsets [B + 1] -> pooled [B, D], raw scores f [N] (before the softmax); with branches
    [B, C, D] and [N, C].
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        gated: bool = True,
        dropout: float = 0.0,
        branches: int | None = None,
    ) -> None:
        super().__init__()
        self.direction = nn.Sequential(FeatureLinear(width, hidden), Tanh())
        self.gate = None
        if gated:
            # Independent masks keep (1 - p)^2 of the product: one with this share does the same.
            both = 1 - (1 - dropout) ** 2
            self.gate = nn.Sequential(FeatureLinear(width, hidden), SigmoidDropout(both))
        else:
            self.direction.append(Dropout(dropout))
        self.branches = branches
        self.score = nn.Linear(hidden, branches or 1)

    def raw(self, x: Tensor) -> Tensor:
        """Return the raw scores [N] or [N, C]."""
        hidden = self.direction(x)  # [N, hidden]
        if self.gate is not None:
            hidden = hidden * self.gate(x)
        scores = self.score(hidden)
        return scores.squeeze(-1) if self.branches is None else scores

    def forward(self, x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled bags and the raw scores."""
        scores = self.raw(x)
        weights = bag_softmax(scores, offsets)
        if self.branches is not None:
            return segment_pool(weights, x, offsets), scores
        return weighted_sum(weights, x, offsets), scores
