"""Attention pooling over the instances of a bag."""

from torch import Tensor, nn

from mil.nn.dropout import SigmoidDropout
from mil.nn.segments import segment_softmax, segment_sum


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

    Shapes
    ------
    x [N, D], offsets [B + 1] -> pooled [B, D], raw scores f [N] (before the softmax).
    """

    def __init__(self, width: int, hidden: int, gated: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.direction = nn.Sequential(nn.Linear(width, hidden), nn.Tanh())
        self.gate = None
        if gated:
            # Independent masks keep (1 - p)^2 of the product: one with this share does the same.
            both = 1 - (1 - dropout) ** 2
            self.gate = nn.Sequential(nn.Linear(width, hidden), SigmoidDropout(both))
        else:
            self.direction.append(nn.Dropout(dropout))
        self.score = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled bags [B, D] and the raw scores [N]."""
        hidden = self.direction(x)  # [N, hidden]
        if self.gate is not None:
            hidden = hidden * self.gate(x)
        scores = self.score(hidden).squeeze(-1)  # [N]
        weights = segment_softmax(scores, offsets)
        return segment_sum(weights.unsqueeze(-1) * x, offsets), scores
