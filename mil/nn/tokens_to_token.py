"""Windows of a map become tokens that attend to each other (T2T)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mil.nn.attention_encoder import normed_mlp
from mil.nn.block_attention import dropout_attention
from mil.nn.dropout import Dropout
from mil.nn.grid_stencil import convolution
from mil.nn.segments import bags_of, joined


class TokensToToken(nn.Module):
    r"""One layer of tokens-to-token (Yuan et al., ICCV 2021).

    With u the C k^2 values of a window, channel slowest:

    .. math::

        q, k, v = W\, \mathrm{LN}(u), \qquad
        y = v + O\, \mathrm{softmax}(q k^\top / \sqrt{C k^2})\, v + o, \qquad
        y + \mathrm{MLP}(\mathrm{LN}(y))

    with one head and an MLP as wide as y. The scale is that of the windows' width and the residual
    is v, as in the reference. Windows are never laid side by side: with gamma and beta those of the
    norm, mu and sigma a window's mean and deviation,

    .. math:: W\, \mathrm{LN}(u) = \frac{(W \gamma) * x - \mu \sum W \gamma}{\sigma} + W \beta

    where the convolution, mu and sigma need the cells of the map alone (a factor k^2 less memory).

    Parameters
    ----------
    channels : of the map, C.
    width : of the tokens, A.
    kernel : odd side k of the windows.
    dropout : of the weights, behind O and in the MLP.

    Shapes
    ------
    x [M, C], the cells that are not zero; windows [k^2, T], see ``window_cells``; offsets [B + 1]
    of the T tokens -> [T, A].

    Notes
    -----
    Time O(T k^2 C A + T^2 A), memory O(M C + T A).
    """

    def __init__(self, channels: int, width: int, kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.p = kernel, dropout
        self.norm = nn.LayerNorm(channels * kernel * kernel)
        self.qkv = nn.Linear(channels * kernel * kernel, 3 * width, bias=False)
        self.out = nn.Sequential(nn.Linear(width, width), Dropout(dropout))
        self.mlp = normed_mlp(width, width, dropout)

    def forward(self, x: Tensor, windows: Tensor, offsets: Tensor) -> Tensor:
        """Return the tokens [T, A]."""
        qkv = self.project(x, windows)
        scale = self.norm.weight.numel() ** -0.5
        p = self.p if self.training else 0.0
        heard = joined(
            [
                dropout_attention(*one[None].chunk(3, 2), scale, p)[0]
                for one in bags_of(qkv, offsets)
            ]
        )
        y = qkv.chunk(3, 1)[2] + self.out(heard)
        return y + self.mlp(y)

    def project(self, x: Tensor, windows: Tensor) -> Tensor:
        """Return q, k and v [T, 3 A]: W LN(u)."""
        size = self.norm.weight.numel()
        kernel = self.qkv.weight.view(len(self.qkv.weight), -1, self.kernel, self.kernel)
        image = convolution(x, kernel, self.norm.weight.view(kernel.shape[1:]), windows)  # [T, 3 A]
        with torch.autocast(x.device.type, enabled=False):
            # Both products at once: the gradient of each by W is as large as W.
            total, shift = torch.stack([self.norm.weight, self.norm.bias]) @ self.qkv.weight.t()
        # In double precision, since the variance is the small difference of two sums.
        mean = _box(x.sum(1, dtype=torch.float64), windows) / size
        variance = _box(x.square().sum(1, dtype=torch.float64), windows) / size - mean.square()
        spread = (variance.clamp(min=0) + self.norm.eps).sqrt()
        mean, spread = (each.to(image.dtype).unsqueeze(1) for each in (mean, spread))
        return (image - mean * total) / spread + shift


def _box(values: Tensor, windows: Tensor) -> Tensor:
    """Return the sums [T] of values [M] in windows [k^2, T]."""
    return pad(values, (1, 0))[windows + 1].sum(0)
