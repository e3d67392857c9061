"""MinCut pooling against PyTorch Geometric's values and dense matrices."""

import numpy as np
import pytest
import torch
from examples import example_bag, golden_input
from golden import eight_neighbours, golden

from mil.bags import pack
from mil.nn.adjacency import Adjacency, bag_graph
from mil.nn.mincut import mincut_pool, pooled_adjacency


@pytest.mark.parametrize("number", range(5))
def test_values_of_pytorch_geometric(number):
    case = golden("building_blocks")["blocks"]["dense_mincut_pool"]["cases"][number]
    p, nodes = int(case["input"][2]), 40 if "first 40" in case["input"] else 64
    edges = eight_neighbours()
    edges = edges[:, (edges < nodes).all(0)]
    weight = torch.ones(edges.shape[1], dtype=torch.float64)
    graph = Adjacency.of(edges, nodes, weight, symmetric=True)
    if case["adjacency"] != "binary":
        graph = graph.normalised("sym")
    scores = np.random.RandomState(100 + p).standard_normal((64, 10))[:nodes]
    s, x = torch.from_numpy(scores).softmax(1), torch.from_numpy(golden_input(p, 64))[:nodes]
    offsets = torch.tensor([0, nodes])
    found, near = mincut_pool(x, s, graph, offsets), {"abs": 2e-6}
    assert found.mincut.item() == pytest.approx(case["mincut"], **near)
    assert found.ortho.item() == pytest.approx(case["ortho"], **near)
    assert found.pooled[0, 0, :5].tolist() == pytest.approx(case["pooled_x_row0_first5"], **near)
    if "pooled_adj_row0" in case:
        between = pooled_adjacency(s, graph, offsets)[0, 0].tolist()
        assert between == pytest.approx(case["pooled_adj_row0"], **near)


def test_traces_are_those_of_the_dense_matrices():
    torch.manual_seed(0)
    bag = pack([example_bag(16, 5, 0), example_bag(32, 5, 1)])
    graph = bag_graph(bag, "it")
    s = torch.randn(48, 4).softmax(1)
    found = mincut_pool(bag.features, s, graph, bag.offsets)
    dense = graph.product(torch.eye(48))
    for b, rows in enumerate((slice(0, 16), slice(16, 48))):
        a, s_b = dense[rows, rows], s[rows]
        cut = -torch.trace(s_b.T @ a @ s_b) / torch.trace(s_b.T @ a.sum(1).diag() @ s_b)
        gram = s_b.T @ s_b
        ortho = (gram / gram.norm() - torch.eye(4) / torch.eye(4).norm()).norm()
        torch.testing.assert_close(found.mincut[b], cut)
        torch.testing.assert_close(found.ortho[b], ortho)
        torch.testing.assert_close(found.pooled[b], s_b.T @ bag.features[rows])


def test_a_graph_without_edges_cuts_none():
    s = torch.randn(3, 4, requires_grad=True)
    graph = Adjacency.of(torch.empty(2, 0, dtype=torch.int64), 3)
    found = mincut_pool(torch.randn(3, 2), s.softmax(1), graph, torch.tensor([0, 3]))
    (found.mincut + found.ortho).sum().backward()
    assert found.mincut.item() == 0
    assert torch.isfinite(s.grad).all()
