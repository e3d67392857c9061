"""Chebyshev convolutions against PyTorch Geometric's values and the recursion written out."""

import numpy as np
import pytest
import torch
from examples import golden_input
from golden import eight_neighbours, golden, golden_parameters, renamed, take_over

from mil.nn import edge_metric
from mil.nn.adjacency import Adjacency
from mil.nn.chebconv import ChebConv
from mil.nn.edge_metric import EdgeMetric, LearntGraph

NAMES = {"bias": "bias"} | {f"lins.{k}": f"weights.{k}" for k in range(5)}


def grid():
    edges = eight_neighbours()
    weight = torch.ones(edges.shape[1], dtype=torch.float64)
    return Adjacency.of(edges, 64, weight, symmetric=True)


def recursion(conv, x, scaled):
    """T_0 = x, T_1 = L x, T_k = 2 L T_{k-1} - T_{k-2}, as wide as x."""
    before, now = x, scaled @ x
    total = before @ conv.weights[0].weight.T + conv.bias
    for weight in conv.weights[1:]:
        total = total + now @ weight.weight.T
        before, now = now, 2 * scaled @ now - before
    return total


@pytest.mark.parametrize("number", range(6))
def test_values_of_pytorch_geometric(number):
    case = golden("building_blocks")["blocks"]["ChebConv"]["cases"][number]
    conv = ChebConv(64, 32, case["K"])
    take_over(conv, renamed(golden_parameters(case["parameters"]), NAMES))
    x = torch.from_numpy(golden_input(int(case["input"][-1]), 64))
    out = conv(x, grid().normalised("sym"))
    near = {"abs": 2e-6}
    assert out[0, :5].tolist() == pytest.approx(case["out_row0_first5"], **near)
    assert out[27, :5].tolist() == pytest.approx(case["out_row27_first5"], **near)
    assert out.norm().item() == pytest.approx(case["out_norm"], **near)


@pytest.mark.parametrize("orders", [1, 2, 3, 6])
def test_the_recurrence_from_behind_is_the_recursion(orders):
    torch.manual_seed(0)
    conv, graph = ChebConv(7, 5, orders).double(), grid().normalised("sym")
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(64, 7, dtype=torch.float64)
    scaled = -graph.product(torch.eye(64, dtype=torch.float64))
    torch.testing.assert_close(conv(x, graph), recursion(conv, x, scaled))


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("intrinsic", [False, True])
def test_values_of_the_adaptive_layer(p, intrinsic):
    """DeepGraphSurv's: a Laplacian of all pairs, used unscaled; any matrix is a graph to us."""
    given = golden("deepgraphsurv")["adaptive_layer"]
    expected = given["expected"][f"x_{p}"]
    values = golden_parameters(
        given["parameters"],
        exceptions={
            "alpha": lambda g: 0.01 * (1 + 0.2 * g),
            "weights": lambda g: g / np.sqrt(192),
        },
    )
    x = torch.from_numpy(golden_input(p, 64))
    projected = x @ values["metric"]
    g = projected @ projected.T
    distance = g + g.diag().unsqueeze(1) + g.diag()
    distance = distance / distance.norm(dim=0)
    weight = values["alpha"] * (-distance).exp()
    laplacian = weight.sum(0).diag() - weight
    row = laplacian[0, :5].tolist()
    assert row == pytest.approx(expected["residual_laplacian_row0_first5"], abs=2e-6)
    if intrinsic:
        identity = torch.eye(64, dtype=torch.float64)
        laplacian = laplacian + identity - grid().normalised("sym").product(identity)
    conv = ChebConv(64, 16, 3)
    by_order = values["weights"].view(64, 3, 16)  # rows: channel, then order
    orders = {f"weights.{k}.weight": by_order[:, k].T for k in range(3)}
    take_over(conv, {"bias": values["biases"]} | orders)
    i, j = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    graph = Adjacency.of(torch.stack([j.flatten(), i.flatten()]), 64, -laplacian.flatten())
    out = conv(x, graph).relu()
    key = "out_with_intrinsic" if intrinsic else "out_no_intrinsic"
    assert out[0, :5].tolist() == pytest.approx(expected[f"{key}_row0_first5"], abs=2e-6)
    assert out.norm().item() == pytest.approx(expected[f"{key}_norm"], abs=2e-6)


def test_learnt_weights_are_those_of_the_formula(monkeypatch):
    monkeypatch.setattr(edge_metric, "EDGES", 50)
    torch.manual_seed(0)
    metric, graph = EdgeMetric(7, 3).double(), grid()
    x = torch.randn(64, 7, dtype=torch.float64)
    identity = torch.eye(64, dtype=torch.float64)
    p, a = x @ metric.metric.weight.T, graph.product(identity)
    alike = (-torch.cdist(p, p).square() / 3).exp()
    w = torch.where(a != 0, a + 0.01 * alike, 0)
    expected = w / (w.sum(1).unsqueeze(1) * w.sum(1)).sqrt()
    torch.testing.assert_close(metric(x, graph) @ identity, expected)


def test_gradients_by_weights_are_the_differences(monkeypatch):
    monkeypatch.setattr(edge_metric, "EDGES", 4)
    edges = torch.tensor([[0, 1, 1, 2, 0, 3], [1, 0, 2, 1, 3, 0]])  # node 4 has none
    graph = Adjacency.of(edges, 5, torch.ones(6).double(), symmetric=True)
    metric = EdgeMetric(2, 2).double()
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: metric(x, graph) @ x, x)

    def product(x, half):
        weight = half[[0, 0, 1, 1, 2, 2]]  # symmetric, as gradients by x take it
        by_target = weight[torch.argsort(edges[1] * 5 + edges[0])]
        return LearntGraph(graph, by_target) @ x

    half = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, (x, half))
