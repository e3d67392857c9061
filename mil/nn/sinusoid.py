"""Fixed codes of positions."""

import torch
from torch import Tensor


def sinusoid(position: Tensor, width: int) -> Tensor:
    r"""Return codes [N, H] of whole positions [N] (Vaswani et al., 2017).

    Channels 2 i and 2 i + 1 are sine and cosine of :math:`p / 10000^{2 i / H}`.
    """
    pair = torch.arange(width, device=position.device).div(2, rounding_mode="floor")
    angle = position.double().unsqueeze(1) / 10_000 ** (2 * pair / width)
    even = torch.arange(width, device=position.device) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos())


def grid_sinusoid(position: Tensor, width: int) -> Tensor:
    """Return codes [N, H] of rows and columns [N, 2]: half the channels for each, rows first."""
    half = width // 2
    rows, columns = position.unbind(1)
    return torch.cat([sinusoid(rows, half), sinusoid(columns, width - half)], 1)
