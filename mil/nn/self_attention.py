"""Self-attention among the instances of each bag."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mil.nn.normed_linear import normed_linear
from mil.nn.segments import bags_of, joined
from mil.problems import InputError

Smoothing = Callable[[Tensor], Tensor]


class SelfAttention(nn.Module):
    r"""Multi-head attention of all instances of a bag to each other (Vaswani et al., 2017).

    .. math::

        y_n = O\, [\,\textstyle\sum_m \mathrm{softmax}_m(q_n^i \cdot k_m^i / \sqrt d)\, v_m^i\,]_i,
        \qquad q, k, v = W x

    for heads i of width :math:`d = H / h`. Rows of W hold q, then k, then v, head after head inside
    each. Bags are taken one by one, without a mask, so that PyTorch's fused kernel needs memory for
    N H values and never for N^2; nothing is dropped from the weights for the same reason.

    Parameters
    ----------
    width : of the instances.
    hidden : width H of q, k, v and of the result.
    heads : h.
    project : have O, a linear layer with bias; without, the heads are just put side by side.

    Shapes
    ------
    x [N, width], offsets [B + 1] -> [N, H].

    Raises
    ------
    mil.problems.InputError : ``hidden`` cannot be divided by ``heads``.
    """

    def __init__(self, width: int, hidden: int, heads: int, project: bool = True) -> None:
        super().__init__()
        refuse_broken_heads(hidden, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden) if project else nn.Identity()

    def forward(
        self,
        x: Tensor,
        offsets: Tensor,
        smooth: Smoothing | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> Tensor:
        """Return what each instance hears [N, H]; ``smooth`` is applied to the joined heads.

        With a norm it is of norm(x), which is not kept for the gradient.
        """
        qkv = self.qkv(x) if norm is None else normed_linear(x, norm, self.qkv)
        merged = joined(
            [
                merge_heads(scaled_dot_product_attention(*split_heads(qkv, self.heads)))
                for qkv in bags_of(qkv, offsets)
            ]
        )
        return self.out(merged if smooth is None else smooth(merged))


def refuse_broken_heads(hidden: int, heads: int) -> None:
    """Raise an InputError if ``hidden`` cannot be divided by ``heads``."""
    if hidden % heads:
        raise InputError([f"the width {hidden} must be a multiple of the heads, {heads}."])


def split_heads(qkv: Tensor, heads: int) -> list[Tensor]:
    """Return q, k, v [1, h, n, d] of joined ones [n, 3 h d]."""
    return [one.view(1, len(qkv), heads, -1).transpose(1, 2) for one in qkv.chunk(3, 1)]


def merge_heads(x: Tensor) -> Tensor:
    """Return [n, h d] of heads [1, h, n, d]."""
    return x[0].transpose(0, 1).flatten(1)
