"""Smoothing against the dense inverse, the steps written out, and torchmil's values."""

import math

import pytest
import torch
from examples import example_bag, golden_input
from golden import eight_neighbours, golden

from mil.bags import pack
from mil.nn.adjacency import Adjacency, bag_graph
from mil.nn.smooth import Smooth
from mil.problems import InputError

NODES, OFFSETS = 14, torch.tensor([0, 9, 14])


@pytest.fixture
def graph():
    """Two bags; node 8 has no edge."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(8, (2, 14), generator=generator)
    second = torch.randint(9, 14, (2, 8), generator=generator)
    edges = torch.cat([first, second], 1)
    edges = edges[:, edges[0] != edges[1]]
    return Adjacency.of(edges, NODES).symmetrised().normalised("sym")


def dense(graph):
    return graph.product(torch.eye(len(graph), dtype=torch.float64))


def nodes(width=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(NODES, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.9])
def test_exact_smoothing_is_the_inverse(graph, alpha):
    u, smooth = nodes(), Smooth("exact", alpha=alpha).double()
    gamma = smooth.logit.exp().item()
    assert gamma == pytest.approx(alpha / (1 - alpha), rel=1e-6)
    matrix = torch.eye(NODES) + gamma * (torch.eye(NODES) - dense(graph))
    torch.testing.assert_close(smooth(u, graph, OFFSETS), torch.linalg.solve(matrix, u))


def test_steps_are_those_of_the_fixed_point_and_end_in_the_inverse(graph):
    u = nodes()
    g = u
    for _ in range(4):
        g = 0.7 * dense(graph) @ g + 0.3 * u
    few = Smooth(steps=4, alpha=0.7).double()(u, graph, OFFSETS)
    torch.testing.assert_close(few, g, rtol=1e-7, atol=1e-8)  # alpha starts in float32
    many = Smooth(steps=300, alpha=0.7).double()(u, graph, OFFSETS)
    exact = Smooth("exact", alpha=0.7).double()(u, graph, OFFSETS)
    torch.testing.assert_close(many, exact)


@pytest.mark.parametrize("mode", ["approximate", "exact"])
def test_gradients_are_the_differences(graph, mode):
    smooth = Smooth(mode, steps=4, alpha=0.6).double()

    def smoothed(u, logit):
        return torch.func.functional_call(smooth, {"logit": logit}, (u, graph, OFFSETS))

    logit = smooth.logit.detach().requires_grad_()
    assert torch.autograd.gradcheck(smoothed, (nodes().requires_grad_(), logit), atol=1e-7)


def test_the_gradient_keeps_no_step(graph):
    """(exact): it is the smoothing of the gradient, however many steps there were."""
    kept = []
    for steps in (3, 30):
        seen = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda value, seen=seen: seen.append(value.numel()) or value, lambda value: value
        ):
            Smooth(steps=steps, alpha=0.7).double()(nodes().requires_grad_(), graph, OFFSETS)
        kept.append(sum(seen))
    assert kept[0] == kept[1] < 2 * nodes().numel()
    smooth, u, g = Smooth(steps=5, alpha=0.7).double(), nodes().requires_grad_(), nodes().flip(0)
    (of_u,) = torch.autograd.grad(smooth(u, graph, OFFSETS), u, g)
    torch.testing.assert_close(of_u, smooth(g, graph, OFFSETS))


@pytest.mark.parametrize("mode", ["approximate", "exact"])
def test_it_is_linear_and_symmetric(graph, mode):
    smooth = Smooth(mode, alpha=0.8).double()
    u, v, w = nodes(), nodes().flip(0), torch.randn(3, 2, dtype=torch.float64)
    near = {"rtol": 1e-6, "atol": 1e-7}  # weights of edges have float32
    of_product = smooth(u @ w, graph, OFFSETS)
    torch.testing.assert_close(of_product, smooth(u, graph, OFFSETS) @ w, **near)
    left, right = (v * smooth(u, graph, OFFSETS)).sum(), (smooth(v, graph, OFFSETS) * u).sum()
    torch.testing.assert_close(left, right, **near)


def test_a_node_alone_is_drawn_to_zero_alike_in_both_modes(graph):
    u = nodes()
    for mode in ("approximate", "exact"):
        found = Smooth(mode, alpha=0.75).double()(u, graph, OFFSETS)
        torch.testing.assert_close(found[8], 0.25 * u[8], rtol=1e-6, atol=0)


@pytest.mark.parametrize("mode", ["approximate", "exact"])
def test_bags_do_not_know_of_each_other(mode):
    bags = [example_bag(16, seed=0), example_bag(48, seed=1)]
    smooth = Smooth(mode, alpha=0.9)

    def smoothed(bag):
        return smooth(bag.features, bag_graph(bag, "it").normalised("sym"), bag.offsets)

    packed = pack(bags)
    packed.features[16:] *= 1e4
    torch.testing.assert_close(smoothed(packed)[:16], smoothed(bags[0]), rtol=0, atol=0)


@pytest.mark.parametrize("coefficient", [0.5, 1.0, 3.0])
def test_values_of_torchmil(coefficient):
    """Its coefficient is gamma in the exact mode and 1 / gamma in the other."""
    expected = golden("sm_family")["operator"]["values"][f"coef {coefficient}"]
    edges = eight_neighbours()
    weight = torch.ones(edges.shape[1], dtype=torch.float64)
    graph = Adjacency.of(edges, 64, weight, symmetric=True).normalised("sym")
    u = torch.from_numpy(golden_input(0, 64))
    offsets = torch.tensor([0, 64])
    for mode, key, gamma in (
        ("approximate", "approx", 1 / coefficient),
        ("exact", "exact", coefficient),
    ):
        smooth = Smooth(mode).double()
        with torch.no_grad():
            smooth.logit.fill_(math.log(gamma))
        found = smooth(u, graph, offsets)
        assert found[0, :5].tolist() == pytest.approx(expected[f"{key}_row0_first5"], abs=2e-6)
        assert found.norm().item() == pytest.approx(expected[f"{key}_norm"], abs=2e-6)
        if mode == "approximate":
            assert found.sum().item() == pytest.approx(expected["approx_sum"], abs=2e-6)
            found.sum().backward()
            by_coefficient = -smooth.logit.grad.item() / coefficient
            slope = expected["d_sum_d_coef_approx"]
            assert by_coefficient == pytest.approx(slope, rel=1e-6, abs=2e-6)


def test_what_cannot_be_smoothed_is_a_sentence(graph):
    with pytest.raises(InputError, match=r"mode of smoothing is 'exat'; did you mean exact"):
        Smooth("exat")
    with pytest.raises(InputError, match=r"alpha of smoothing is 1; it must be above 0 and below"):
        Smooth(alpha=1)
    with pytest.raises(ValueError, match="needs a symmetric graph"):
        Smooth()(nodes(), Adjacency.of(torch.tensor([[0], [1]]), NODES), OFFSETS)
