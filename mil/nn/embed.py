"""The layer that most models begin with: each instance by itself becomes narrower."""

from torch import nn

from mil.nn.dropout import ReLUDropout
from mil.nn.instance_linear import InstanceLinear


def instance_embedding(in_dim: int, hidden: int | None, dropout: float) -> tuple[nn.Module, int]:
    """Return a layer with ReLU and dropout, [N, D] -> [N, hidden], and the width it gives.

    Without ``hidden`` instances are left as they are.
    """
    if hidden is None:
        return nn.Identity(), in_dim
    return nn.Sequential(InstanceLinear(in_dim, hidden), ReLUDropout(dropout)), hidden
