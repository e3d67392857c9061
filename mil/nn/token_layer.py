"""A few tokens that hear each other and the instances of a bag, norms first."""

import torch
from torch import Tensor, nn

from mil.nn.self_attention import refuse_broken_heads


class TokenLayer(nn.Module):
    r"""What tokens become in a layer of attention among them and all instances of a bag.

    .. math::

        y_t = \mathrm{LN}\big(t + [\,\textstyle\sum_m a^i_{tm} v^i_m\,]_i\big), \qquad
        a^i_t = \mathrm{softmax}_m(q^i_t \cdot k^i_m / \sqrt d), \qquad q, k, v = W\, \mathrm{LN}(x)

    with m over the tokens and instances x, for heads i of width :math:`d = H / h`. Rows of W hold
    q, then k, then v, head after head inside each. Nobody asks what instances become, so neither
    keys nor values of instances are made: :math:`q \cdot W_k x = (W_k^\top q) \cdot x`, and
    :math:`\sum_m a_m W_v x_m = W_v \sum_m a_m x_m`, O(N H h) instead of O(N H^2).

    Parameters
    ----------
    width, heads : H and h.

    Shapes
    ------
    tokens [T, H], instances [n, H] of one bag -> tokens [T, H], weights of instances [h, T, n].
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        refuse_broken_heads(width, heads)
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.after = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, instances: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [T, H], and the weights of instances [h, T, n]."""
        heads, (count, width) = self.heads, tokens.shape
        x = torch.cat([self.before(tokens), self.before(instances)])  # [T + n, H]
        of_q, of_k, of_v = self.qkv.weight.view(3, heads, -1, width)  # [h, d, H] each
        q = x[:count] @ of_q.transpose(1, 2) * of_q.shape[1] ** -0.5  # [h, T, d]
        asked = (q @ of_k).flatten(0, 1)  # [h T, H]
        weights = (asked @ x.t()).softmax(-1)  # [h T, T + n]
        heard = (weights @ x).view(heads, count, width) @ of_v.transpose(1, 2)  # [h, T, d]
        heard = heard.transpose(0, 1).flatten(1)  # [T, H]
        return self.after(tokens + heard), weights.view(heads, count, -1)[..., count:]
