"""Where the layers of a deep graph network drop values; the rest is in test_genconv.py."""

import pytest
import torch
from torch import nn

from mil.nn.deepgcn import deepgcn_layer


@pytest.mark.parametrize("block", ["res", "res+", "dense", "plain"])
def test_dropout_is_of_the_result_or_inside_the_branch(block):
    """With all dropped ``res+`` still has x: its dropout is before the convolution."""
    torch.manual_seed(0)
    x, conv, norm = torch.randn(7, 4), nn.Linear(4, 4, bias=False), nn.LayerNorm(4)
    found = deepgcn_layer(x, conv, norm, block, nn.Dropout(1.0))
    expected = x if block == "res+" else torch.zeros_like(found)
    torch.testing.assert_close(found, expected)
