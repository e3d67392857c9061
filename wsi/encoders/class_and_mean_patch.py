"""Pooling of Virchow and Virchow2: the class token beside the mean of the patch tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsi.encoders.encoder import keep_known


class ClassAndMeanPatch(nn.Module):
    """A vision transformer whose class token and mean patch token are joined.

    Register tokens, between the two, are left out (model cards of Virchow and Virchow2).

    Parameters
    ----------
    vit : timm's vision transformer with ``global_pool=""``, i.e. ``[B, 3, S, S]`` to
        ``[B, prefix + patches, C]``; ``num_prefix_tokens`` counts class and register tokens.

    Shapes
    ------
    ``[B, 3, S, S]`` to ``[B, 2 C]``.
    """

    def __init__(self, vit: nn.Module):
        super().__init__()
        self.vit = vit

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        tokens = self.vit(x)  # [B, T, C]
        patches = tokens[:, self.vit.num_prefix_tokens :]
        return torch.cat((tokens[:, 0], patches.mean(1)), dim=1)


def name_within(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Name the parameters of a plain vision transformer as :class:`ClassAndMeanPatch` does."""
    return keep_known({f"vit.{name}": value for name, value in state.items()}, network)
