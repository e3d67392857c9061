"""DeepGraphSurv on a fixed graph against golden values."""

import pytest
import torch
from examples import example_bag, golden_input
from golden import eight_neighbours, golden, golden_parameters, renamed, take_over
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import Bag
from mil.models import build_model
from mil.nn.segments import bag_softmax

NAMES = {"head": "head", "score": "model.score"}
for branch, ours in (("rep", "representation"), ("att", "attention")):
    NAMES[f"{branch}.bias"] = f"model.{ours}.convs.0.bias"
    NAMES |= {f"{branch}.lins.{k}": f"model.{ours}.convs.0.weights.{k}" for k in range(3)}


@pytest.mark.parametrize("p", [0, 1])
def test_golden_values(p):
    given = golden("deepgraphsurv")["fixed_graph_form"]
    expected, near = given["expected"][f"x_{p}"], {"abs": 2e-6, "rel": 1e-6}
    module = nn.Module()
    module.model = build_model("deepgraphsurv", 64, hidden=32, attention=16)
    module.head = nn.Linear(32, 1)
    take_over(module, renamed(golden_parameters(given["parameters"]), NAMES))
    module.eval()
    edges = eight_neighbours()
    bag = Bag.single(
        torch.from_numpy(golden_input(p, 64)),
        edge_index=edges,
        edge_weight=torch.ones(edges.shape[1]).double(),
    )
    embedding = module.model(bag)
    logit = module.head(embedding.vector)[0, 0]
    assert logit.item() == pytest.approx(expected["logit"], **near)
    raw = embedding.scores[:5].tolist()
    assert raw == pytest.approx(expected["attention_raw_first5"], **near)
    weights = bag_softmax(embedding.scores, bag.offsets)[:5].tolist()
    assert weights == pytest.approx(expected["attention_softmax_first5"], **near)
    losses = [binary_cross_entropy_with_logits(logit, logit.new_full((), y)) for y in (0.0, 1.0)]
    assert losses[0].item() == pytest.approx(expected["loss_label0"], **near)
    assert losses[1].item() == pytest.approx(expected["loss_label1"], **near)
    losses[1].backward()
    found = dict(module.named_parameters())
    for name, norm in expected["grad_norms_label1"].items():
        gradient = found[next(iter(renamed({name: 0}, NAMES)))].grad.norm().item()
        assert gradient == pytest.approx(norm, **near), name


def test_patches_hear_of_those_in_reach():
    """A chain: K - 1 steps in each layer."""
    n = torch.arange(9)
    chain = torch.stack([n[:-1], n[1:]])
    for layers, orders in ((1, 1), (1, 3), (2, 3)):
        torch.manual_seed(0)
        model = build_model("deepgraphsurv", 6, layers=layers, orders=orders).eval()
        x = torch.randn(9, 6, requires_grad=True)
        model(Bag.single(x, edge_index=chain)).scores[0].backward()
        reach = layers * (orders - 1)
        assert (x.grad.abs().sum(1) > 0).tolist() == [i <= reach for i in range(9)]


def test_the_metric_learns():
    torch.manual_seed(0)
    model = build_model("deepgraphsurv", 24, preset="paper", hidden=8, attention=8)
    model(example_bag(32)).vector.square().sum().backward()
    assert model.metric.metric.weight.grad.abs().sum() > 0
    assert model.metric.log_alpha.grad != 0
    alone = Bag.single(torch.randn(1, 24), edge_index=torch.empty(2, 0, dtype=torch.int64))
    assert torch.isfinite(model(alone).vector).all()
