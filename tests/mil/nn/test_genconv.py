"""The softmax over incoming edges: against the formula node by node, its gradient, its memory."""

import pytest
import torch
from examples import golden_input
from golden import eight_neighbours, golden, golden_parameters, renamed, take_over
from torch.utils._python_dispatch import TorchDispatchMode

from mil.nn import genconv
from mil.nn.adjacency import Adjacency
from mil.nn.deepgcn import deepgcn_layer
from mil.nn.genconv import GENConv, softmax_aggregate


def random_edges(nodes, edges, seed=0):
    """Edges between any two nodes, some twice, some from a node to itself; the last has none."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(nodes, (edges,), generator=generator)
    target = torch.randint(nodes - 1, (edges,), generator=generator)
    return torch.stack([source, target])


def by_hand(m, t, edges):
    found = []
    for i in range(len(m)):
        m_j = m[edges[0, edges[1] == i]]
        found.append(((t * m_j).softmax(0) * m_j).sum(0))
    return torch.stack(found)


@pytest.mark.parametrize("t", [1.0, -0.5, 0.0, 300.0])
def test_values_and_gradients_are_those_of_the_formula(t):
    edges = random_edges(20, 60)
    m = torch.rand(20, 5, dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor([t], dtype=torch.float64, requires_grad=True)
    toward = torch.randn(20, 5, dtype=torch.float64)
    found = softmax_aggregate(m, temperature, Adjacency.of(edges, 20))
    expected = by_hand(m, temperature, edges)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[-1], torch.zeros(5, dtype=torch.float64))
    for one, other in zip(
        torch.autograd.grad((found * toward).sum(), (m, temperature)),
        torch.autograd.grad((expected * toward).sum(), (m, temperature)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_gradients_are_the_differences():
    edges = Adjacency.of(random_edges(6, 15), 6)
    m = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([1.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, t: softmax_aggregate(m, t, edges), (m, t))


def test_no_edge_at_all():
    none = Adjacency.of(torch.empty(2, 0, dtype=torch.int64), 3)
    m = torch.rand(3, 4, requires_grad=True)
    found = softmax_aggregate(m, torch.ones(1), none)
    found.sum().backward()
    assert not found.any()
    assert not m.grad.any()


def test_products_and_the_softmax_of_every_edge_agree(monkeypatch):
    """In float32, with messages far apart, both are near the values in double precision."""
    torch.manual_seed(0)
    edges, m = random_edges(50, 400), 40 * torch.rand(50, 8)
    found = []
    for exponent, kind in ((60.0, torch.float32), (-1.0, torch.float32), (-1.0, torch.float64)):
        monkeypatch.setattr(genconv, "EXPONENT", exponent)
        x, t = (v.to(kind).requires_grad_() for v in (m, torch.tensor([-1.2])))
        a = softmax_aggregate(x, t, Adjacency.of(edges, 50))
        found.append((a.detach(), *torch.autograd.grad(a.square().sum(), (x, t))))
    for products, softmax, right in zip(*found, strict=True):
        room = 1e-4 * right.abs().max().item()
        torch.testing.assert_close(products.double(), right, rtol=0, atol=room)
        torch.testing.assert_close(softmax.double(), right, rtol=0, atol=room)


def test_what_is_not_a_number_goes_on():
    graph = Adjacency.of(torch.tensor([[0, 1], [1, 2]]), 3)
    found = softmax_aggregate(torch.tensor([[1.0], [torch.nan], [1.0]]), torch.ones(1), graph)
    assert found[:2].flatten().tolist() == pytest.approx([0, 1])
    assert found[2].isnan().all()


def test_messages_of_any_size_stay_finite():
    m = torch.tensor([[1e4], [0.0], [3e38]], requires_grad=True)
    t = torch.ones(1, requires_grad=True)
    edges = Adjacency.of(torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]]), 3)
    found = softmax_aggregate(m, t, edges)
    found[1:].sum().backward()
    assert found.flatten().tolist() == [torch.tensor(3e38).item(), 1e4, 1e4]
    assert torch.isfinite(m.grad).all()


def test_the_order_of_edges_makes_no_difference():
    edges = random_edges(30, 200)
    layer = GENConv(8)
    x = torch.randn(30, 8)
    mixed = edges[:, torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(layer(x, Adjacency.of(mixed, 30)), layer(x, Adjacency.of(edges, 30)))


NAMES = {"aggr_module.t": "t", "mlp.0": "mlp.0", "mlp.1": "mlp.1", "mlp.4": "mlp.3"}


def of_geometric(case, names, module):
    """Give a module the parameters of a case; every temperature is 1 + 0.2 g."""
    temperatures = {n: lambda g: 1 + 0.2 * g for n in case["parameters"] if n.endswith(".t")}
    filled = golden_parameters(case["parameters"], case["norm_weights"], temperatures)
    take_over(module, renamed(filled, names))


@pytest.mark.parametrize("number", range(4))
def test_values_of_pytorch_geometric(number):
    case = golden("building_blocks")["blocks"]["GENConv"]["cases"][number]
    conv = GENConv(64, case["bias"])
    of_geometric(case, NAMES, conv)
    x = torch.from_numpy(golden_input(int(case["input"][-1]), 64))
    out = conv(x, Adjacency.of(eight_neighbours(), 64))
    assert out[0, :5].tolist() == pytest.approx(case["out_row0_first5"], abs=2e-6)
    assert out[27, :5].tolist() == pytest.approx(case["out_row27_first5"], abs=2e-6)
    assert out.norm().item() == pytest.approx(case["out_norm"], abs=2e-6)
    (out.square().sum() / 2).backward()
    found = dict(conv.named_parameters())
    for name, norm in case["grad_norms_of_half_squared_output"].items():
        gradient = found[next(iter(renamed({name: 0}, NAMES)))].grad.norm().item()
        assert gradient == pytest.approx(norm, rel=1e-6, abs=2e-6), name


@pytest.mark.parametrize("number", range(8))
def test_layers_of_pytorch_geometric(number):
    case = golden("building_blocks")["blocks"]["DeepGCNLayer"]["cases"][number]
    module = torch.nn.ModuleDict({"conv": GENConv(64), "norm": torch.nn.LayerNorm(64)})
    of_geometric(
        case, {f"conv.{k}": f"conv.{v}" for k, v in NAMES.items()} | {"norm": "norm"}, module
    )
    x = torch.from_numpy(golden_input(int(case["input"][-1]), 64))
    edges = Adjacency.of(eight_neighbours(), 64)
    out = deepgcn_layer(
        x, lambda x: module["conv"](x, edges), module["norm"], case["block"], torch.nn.Identity()
    )
    assert out[0, :5].tolist() == pytest.approx(case["out_row0_first5"], abs=2e-6)
    assert out[0, -5:].tolist() == pytest.approx(case["out_row0_last5"], abs=2e-6)
    assert out.norm().item() == pytest.approx(case["out_norm"], abs=2e-6)


class Largest(TorchDispatchMode):
    """Most elements that any tensor holds which an operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if torch.is_tensor(value):
                sparse = value.layout == torch.sparse_csr
                self.elements = max(self.elements, value._nnz() if sparse else value.numel())
        return result


def test_memory_is_that_of_nodes_not_of_edges():
    nodes, width = 500, 32
    layer, edges = GENConv(width), Adjacency.of(random_edges(nodes, 20_000), nodes)
    x = torch.randn(nodes, width, requires_grad=True)
    with Largest() as seen:
        layer(x, edges).sum().backward()
    assert seen.elements <= max(nodes * 2 * width, 2 * 20_000)  # the MLP's, and the list of edges
