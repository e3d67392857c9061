"""Random smooth attention against torchmil's values and the formulas; a stand-in for heads."""

import numpy as np
import pytest
import torch
from examples import example_bag, golden_input
from golden import eight_neighbours, golden, golden_parameters, renamed, take_over
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import pack
from mil.models import build_model
from mil.network import Network
from mil.nn.adjacency import Adjacency, bag_graph
from mil.nn.prob_smooth import ProbSmoothAttentionPool, attention_of
from mil.problems import InputError

NAMES = {
    "pool.in_mlp.0.module": "pool.hidden.0",
    "pool.in_mlp.2": "pool.hidden.2",
    "pool.mu_f_nn": "pool.mean",
    "pool.log_diag_Sigma_nn": "pool.log_variance",
    "classifier.module": "classifier",
}


@pytest.mark.parametrize("mode", ["diag", "zero"])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_torchmil(mode, p, monkeypatch):
    case = next(one for one in golden("probsmooth")["cases"] if one["covar_mode"] == mode)
    expected, near = case["expected"][f"x_{p}"], {"abs": 2e-6, "rel": 1e-6}
    module = nn.Module()
    module.pool = ProbSmoothAttentionPool(64, 16, case["samples"], variance=mode == "diag")
    module.classifier = nn.Linear(64, 1)
    take_over(module, renamed(golden_parameters(case["parameters"]), NAMES))
    noise = np.random.RandomState(300 + p).standard_normal((1, 64, 4))[0]
    monkeypatch.setattr(torch, "randn", lambda *shape, **how: torch.from_numpy(noise))

    edges, offsets = eight_neighbours(), torch.tensor([0, 64])
    weight = torch.ones(edges.shape[1], dtype=torch.float64)
    graph = Adjacency.of(edges, 64, weight, symmetric=True).normalised("sym")
    x = torch.from_numpy(golden_input(p, 64))
    vector, scores, samples, kl = module.pool(x, graph, offsets, x.sum(1))
    h = module.pool.hidden(x)
    assert module.pool.mean(h)[:5, 0].tolist() == pytest.approx(expected["mu_first5"], **near)
    if mode == "diag":
        logvar = module.pool.log_variance(h)[:5, 0].tolist()
        assert logvar == pytest.approx(expected["logvar_first5"], **near)
    else:
        assert samples is None
    samples = scores.softmax(0).unsqueeze(1) if samples is None else samples
    logits = samples.T @ module.classifier(x)[:, 0]
    assert logits.tolist() == pytest.approx(expected["logit_per_sample"], **near)
    assert module.classifier(vector).item() == pytest.approx(expected["mean_logit"], **near)
    assert logits.sigmoid().mean().item() == pytest.approx(expected["mean_probability"], **near)
    mean = scores.softmax(0)[:5].tolist()
    assert mean == pytest.approx(expected["attention_mean_over_samples_first5"], **near)
    assert kl.item() == pytest.approx(expected["kl"], **near)
    for label in (0.0, 1.0):
        loss = binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
        assert loss.item() == pytest.approx(expected[f"loss_label{label:.0f}"], **near)
    (loss + kl.sum()).backward()
    found = dict(module.named_parameters())
    for name, norm in expected["grad_norms_label1_plus_kl"].items():
        gradient = found[next(iter(renamed({name: 0}, NAMES)))].grad
        assert gradient.norm().item() == pytest.approx(norm, **near), name


def test_the_divergence_is_that_of_the_dense_matrices():
    """Also with loops, in two bags, each divided by its own number of instances."""
    torch.manual_seed(0)
    bag = pack([example_bag(16, 6, 0), example_bag(32, 6, 1)])
    graph = bag_graph(bag, "it").with_loops(0.5).normalised("sym")
    pool = ProbSmoothAttentionPool(6, 4)
    found = pool(bag.features, graph, bag.offsets, bag.features.sum(1)).penalty
    laplacian = torch.eye(48) - graph.product(torch.eye(48))
    h = pool.hidden(bag.features)
    mu, log_variance = pool.mean(h)[:, 0], pool.log_variance(h)[:, 0]
    for b, rows in enumerate((slice(0, 16), slice(16, 48))):
        m, v, lap = mu[rows], log_variance[rows], laplacian[rows, rows]
        kl = (m @ lap @ m + torch.trace(v.exp().diag() @ lap) - v.sum() / 2) / len(m)
        torch.testing.assert_close(found[b], kl, rtol=1e-5, atol=1e-6)


class LinearHead(nn.Module):
    """Stand-in for heads of one linear layer."""

    def __init__(self, width, outputs):
        super().__init__()
        self.linear = nn.Linear(width, outputs)

    def read(self, logits):
        return logits

    def forward(self, vector, noise):
        return self.linear(vector)


@pytest.mark.parametrize("training", [True, False])
def test_a_linear_head_has_an_output_for_every_draw(training):
    """As if each draw's own vector were made."""
    torch.manual_seed(0)
    model = build_model("prob_smooth_abmil", 24, hidden=16, attention=8, samples=6)
    network = Network(model, LinearHead(16, 3), None).train(training)
    bag = pack([example_bag(16, seed=0), example_bag(40, seed=1)])
    output, embedding = network(bag, torch.empty(2, 1, 0))
    draws = 6 if training else 200
    assert output.shape == (2, draws, 3)
    for b, rows in enumerate((slice(0, 16), slice(16, 56))):
        weights = embedding.samples[rows]
        torch.testing.assert_close(weights.sum(0), torch.ones(draws))
        vectors = weights.T @ embedding.pooled[rows]  # [M, H]
        torch.testing.assert_close(output[b], network.head.linear(vectors), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(embedding.vector[b], vectors.mean(0), rtol=1e-4, atol=1e-5)
        spread = weights.std(1, correction=0)
        torch.testing.assert_close(embedding.spread()[rows], spread, rtol=1e-4, atol=1e-7)


def test_other_heads_and_models_have_one_output():
    model = build_model("smooth_abmil", 24, hidden=16)
    assert Network(model, LinearHead(16, 3), None)(example_bag(), None)[0].shape == (1, 3)
    head = LinearHead(16, 3)
    head.last = head.__dict__["_modules"].pop("linear")
    head.forward = lambda vector, noise: head.last(vector)
    model = build_model("prob_smooth_abmil", 24, hidden=16)
    output, embedding = Network(model, head, None)(example_bag(), None)
    torch.testing.assert_close(output, head.last(embedding.vector))


def test_draws_in_evaluation_are_pairs_and_the_same_with_and_without_gradient():
    torch.manual_seed(0)
    pool = ProbSmoothAttentionPool(24, 8, evaluation_samples=300).eval()
    bag = example_bag(32)
    graph = bag_graph(bag, "it").normalised("sym")
    with torch.no_grad():
        samples = pool(bag.features, graph, bag.offsets, bag.features.sum(1)).samples
        h = pool.hidden(bag.features)
        mu, deviation = pool.mean(h)[:, 0], (pool.log_variance(h)[:, 0] / 2).exp()
    torch.testing.assert_close(
        samples, pool(bag.features, graph, bag.offsets, bag.features.sum(1)).samples
    )
    logits = samples.log()
    noise = (logits - logits.mean(0) - (mu - mu.mean()).unsqueeze(1)) / deviation.unsqueeze(1)
    assert noise[:, :150].std().item() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(noise[:, :150], -noise[:, 150:], rtol=1e-2, atol=1e-3)


def test_scores_beyond_the_bound_are_drawn_back():
    attention = attention_of(
        torch.tensor([90.0, 25.0, 0.0]), torch.zeros(3), torch.zeros(3, 1), torch.tensor([0, 3])
    )
    assert attention[0] == attention[1] > 0.49
    assert attention[2] > 0


def test_an_odd_number_of_draws_is_a_sentence():
    with pytest.raises(InputError, match=r"evaluation_samples is 7; draws come in pairs"):
        build_model("prob_smooth_abmil", 8, evaluation_samples=7)
