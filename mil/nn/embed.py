"""The layer that most models begin with: each instance by itself becomes narrower."""

from torch import nn

from mil.nn.dropout import Dropout, ReLUDropout
from mil.nn.instance_linear import InstanceLinear


def instance_embedding(
    in_dim: int, hidden: int | None, dropout: float, relu: bool = True
) -> tuple[nn.Module, int]:
    """Return a layer with ReLU and dropout, [N, D] -> [N, hidden], and the width it gives.

    Without ``hidden`` instances are left as they are.
    """
    if hidden is None:
        return nn.Identity(), in_dim
    behind = ReLUDropout(dropout) if relu else Dropout(dropout)
    return nn.Sequential(InstanceLinear(in_dim, hidden), behind), hidden
