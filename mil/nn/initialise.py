"""How the weights of linear layers start."""

from torch import nn


def xavier_linear_(module: nn.Module) -> None:
    """Give every ``nn.Linear`` below ``module`` a Xavier-uniform weight and a zero bias, in place.

    So start AdvMIL's generators; everything else (convolutions, norms, packed attention
    projections) keeps PyTorch's start (Liu et al., Medical Image Analysis 2024, public code).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def orthogonal_linear_(module: nn.Module) -> None:
    """Give every ``nn.Linear`` below ``module`` an orthogonal weight and a zero bias, in place.

    So starts DSMIL (Li, Li and Eliceiri, CVPR 2021, public code).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
