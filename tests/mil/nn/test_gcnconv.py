"""The linear graph convolution against its formula on dense matrices."""

import pytest
import torch

from mil.nn.adjacency import Adjacency
from mil.nn.gcnconv import GCNConv, gcn_graph


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_formula(symmetric):
    torch.manual_seed(0)
    a = (torch.rand(9, 9) < 0.3).double().fill_diagonal_(0)
    a[3] = a[:, 3] = 0  # a node without neighbours
    a = ((a + a.T) > 0).double() if symmetric else a
    target, source = a.nonzero().T
    graph = Adjacency.of(torch.stack([source, target]), 9, symmetric=symmetric)
    degree = a.sum(1)
    one_over = torch.where(degree > 0, 1 / degree, 0)
    if symmetric:
        mean = one_over.sqrt()[:, None] * a * one_over.sqrt()
    else:
        mean = one_over[:, None] * a
    layer = GCNConv(5).double()
    x = torch.randn(9, 5).double()
    expected = (mean @ x + x) @ layer.linear.weight.T + layer.linear.bias
    found = layer(x, gcn_graph(graph))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # weights are float32
