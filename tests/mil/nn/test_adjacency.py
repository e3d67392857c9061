"""Products with a sparse graph against the same with its dense matrix."""

import pytest
import torch

from mil.bags import Bag, BagError
from mil.nn.adjacency import Adjacency, bag_graph

NODES = 12


def edges(count=30, seed=0):
    return torch.randint(NODES, (2, count), generator=torch.Generator().manual_seed(seed))


def dense(graph):
    matrix = torch.zeros(NODES, NODES)
    return matrix.index_put((graph.target, graph.source), graph.weight, accumulate=True)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_product_and_its_gradient(symmetric):
    weight = torch.rand(30, generator=torch.Generator().manual_seed(1))
    graph = Adjacency.of(edges(), NODES, weight)
    graph = graph.symmetrised() if symmetric else graph
    x = torch.randn(NODES, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(graph @ x, dense(graph).double() @ x)
    assert torch.autograd.gradcheck(lambda x: graph @ x, x)


def test_rows_receive_from_columns():
    graph = Adjacency.of(torch.tensor([[2], [5]]), NODES)  # 2 -> 5
    received = graph @ torch.eye(NODES)
    assert received.nonzero().tolist() == [[5, 2]]


def test_equal_edges_count_as_often_and_a_union_counts_them_once():
    twice = Adjacency.of(torch.tensor([[2, 2, 5], [5, 5, 2]]), NODES)
    assert dense(twice)[5, 2] == 2
    union = dense(twice.symmetrised())
    assert union[5, 2] == union[2, 5] == 1
    assert union.sum() == 2


@pytest.mark.parametrize("kind", ["sym", "row"])
def test_normalisation(kind):
    graph = Adjacency.of(edges(12), NODES).symmetrised()
    matrix, degree = dense(graph), dense(graph).sum(1)
    inverse = torch.where(degree > 0, 1 / degree, 0)
    expected = inverse.sqrt()[:, None] * matrix * inverse.sqrt()
    if kind == "row":
        expected = inverse[:, None] * matrix
    assert (degree == 0).any()
    found = graph.normalised(kind)
    torch.testing.assert_close(dense(found), expected)
    assert found.symmetric == (kind == "sym")
    with pytest.raises(ValueError, match="it must be sym or row"):
        graph.normalised("both")


def test_loops_and_the_diagonal():
    graph = Adjacency.of(edges(), NODES).with_loops(0.5)
    torch.testing.assert_close(graph.diagonal, dense(graph).diagonal())
    torch.testing.assert_close(graph.degrees, dense(graph).sum(1))


def test_half_precision_is_multiplied_in_single():
    graph = Adjacency.of(edges(), NODES)
    x = torch.randn(NODES, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = graph @ x.bfloat16()
    torch.testing.assert_close(found, dense(graph) @ x.bfloat16().float())


def test_a_bag_without_edges_is_a_sentence():
    bag = Bag.single(torch.zeros(3, 2), "P7")
    with pytest.raises(BagError, match=r"patient P7: no edges, which model gtp reads"):
        bag_graph(bag, "gtp")
