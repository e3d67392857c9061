"""GTP and GraphCAM against the values of the original."""

import numpy as np
import pytest
import torch
from examples import example_bag, golden_input
from golden import eight_neighbours, golden, golden_parameters, renamed, take_over
from torch import nn
from torch.nn.functional import cross_entropy

from mil import graphcam
from mil.bags import Bag, pack
from mil.graphcam import gradient_rollout, graph_cam, of_linear, of_sum, relevance
from mil.models import build_model
from mil.nn.adjacency import bag_graph
from mil.nn.mincut import pooled_adjacency

NAMES = {
    "cls_token": "model.token",
    "conv1.weight": "model.embed.weight",
    "conv1.bias": "model.bias",
    "conv1.bn_layer": "model.node_norm",
    "pool1.weight": "model.assign.weight",
    "pool1.bias": "model.assign.bias",
    "transformer.head": "head",
    "transformer.norm": "model.norm",
}
for block in range(3):
    NAMES |= {
        f"transformer.blocks.{block}.{theirs}": f"model.blocks.{block}.{ours}"
        for theirs, ours in {
            "attn.proj": "project",
            "attn.qkv": "qkv",
            "mlp.fc1": "first",
            "mlp.fc2": "second",
            "norm1": "norm1",
            "norm2": "norm2",
        }.items()
    }
NEAR = {"abs": 2e-6, "rel": 1e-6}


@pytest.fixture(scope="module")
def file():
    return golden("gtp")


@pytest.fixture
def module(file):
    module = nn.Module()
    module.model, module.head = build_model("gtp", 512), nn.Linear(64, 2)
    values = golden_parameters(file["parameters"], file["norm_weights"])
    values["conv1.weight"] = values["conv1.weight"].T  # stored input x output
    take_over(module, renamed(values, NAMES))
    i = torch.arange(64, dtype=torch.float64)
    module.model.node_norm.running_mean.copy_(0.05 * (i % 5))
    module.model.node_norm.running_var.copy_(0.002 * (1 + i % 3))
    return module.eval()


def bag_of(p, nodes=64):
    edges = eight_neighbours()
    edges = edges[:, (edges < nodes).all(0)]
    x = torch.from_numpy(golden_input(p, 512))[:nodes]
    return Bag.single(x, edge_index=edges, edge_weight=torch.ones(edges.shape[1]).double())


@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(file, module, p):
    expected, bag = file["expected"][f"x_{p}"], bag_of(p)
    bag.features.requires_grad_()
    seen = []
    module.model.assign.register_forward_hook(lambda _, given, made: seen.append((*given, made)))
    embedding = module.model(bag)
    for values, key in zip(seen[0], ("node_embedding", "cluster_scores"), strict=True):
        assert values[0, :5].tolist() == pytest.approx(expected[f"{key}_row0_first5"], **NEAR)
    logits = module.head(embedding.vector)
    assert logits[0].tolist() == pytest.approx(expected["logits"], **NEAR)
    penalties = embedding.penalties
    for name in ("mincut", "ortho"):
        assert penalties[name].item() == pytest.approx(expected[name], **NEAR)
    tokens, assignment, _ = module.model.clusters(bag)
    first = assignment[0, :5].tolist()
    assert first == pytest.approx(expected["assignment_row0_first5"], **NEAR)
    assert tokens[0, 1, :5].tolist() == pytest.approx(expected["pooled_row0_first5"], **NEAR)
    between = pooled_adjacency(assignment, bag_graph(bag, "gtp"), bag.offsets)[0, 0, :5].tolist()
    assert between == pytest.approx(expected["pooled_adj_row0_first5"], **NEAR)
    for label in (0, 1):
        loss = cross_entropy(logits, torch.tensor([label]))
        assert loss.item() == pytest.approx(expected[f"cross_entropy_label{label}"], **NEAR)
        total = loss + penalties["mincut"].sum() + penalties["ortho"].sum()
        assert total.item() == pytest.approx(expected[f"total_label{label}"], **NEAR)
    total.backward()
    found = {n: p.grad for n, p in module.named_parameters()} | {"input": bag.features.grad}
    for name, norm in expected["grad_norms_label1"].items():
        ours = next(iter(renamed({name: 0}, NAMES | {"input": "input"})))
        assert found[ours].norm().item() == pytest.approx(norm, **NEAR), name


def test_values_of_a_batch(file, module):
    expected = file["padded_batch"]
    embedding = module.model(pack([bag_of(0), bag_of(1, 40)]))
    logits = module.head(embedding.vector)
    np.testing.assert_allclose(logits.tolist(), expected["logits"], atol=2e-6)
    means = {name: value.mean().item() for name, value in embedding.penalties.items()}
    assert means["mincut"] == pytest.approx(expected["mincut"], **NEAR)
    assert means["ortho"] == pytest.approx(expected["ortho"], **NEAR)
    total = cross_entropy(logits, torch.tensor([0, 1])).item() + sum(means.values())
    assert total == pytest.approx(expected["total"], **NEAR)


def test_values_in_training(file, module):
    expected = file["training_mode"]
    embedding = module.train().model(bag_of(0))
    logits = module.head(embedding.vector)[0].tolist()
    assert logits == pytest.approx(expected["logits"], **NEAR)
    assert embedding.penalties["mincut"].item() == pytest.approx(expected["mincut"], **NEAR)
    assert embedding.penalties["ortho"].item() == pytest.approx(expected["ortho"], **NEAR)
    norm = module.model.node_norm
    assert norm.running_mean[:3].tolist() == pytest.approx(
        expected["running_mean_first3_after"], **NEAR
    )
    assert norm.running_var[:3].tolist() == pytest.approx(
        expected["running_var_first3_after"], **NEAR
    )


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("output", [0, 1])
def test_maps_of_the_original(file, module, p, output, monkeypatch):
    """It adds 1e-9 to every denominator, also where a tensor is used twice."""
    expected = file["expected"][f"x_{p}"]["graphcam"][f"class_{output}"]
    bag, clusters, to_patches = bag_of(p), [], graphcam.patches_of
    monkeypatch.setattr(
        graphcam,
        "patches_of",
        lambda found, *of: clusters.append(found[0]) or to_patches(found, *of),
    )
    with torch.no_grad():
        found = graph_cam(module.model, bag, module.head, output)
        assert found[:5].tolist() == pytest.approx(expected["graphcam_patch_first5"], rel=1e-3)

        def target(vector):
            logit = module.head(vector)[0, output]
            return logit * logit.detach()

        simple = gradient_rollout(module.model, bag, target)
        known = expected["grad_x_attention_patch_first5"]
        assert simple[:5].tolist() == pytest.approx(known, rel=1e-5)
        full, simple = clusters
        assert full[:5].tolist() == pytest.approx(expected["graphcam_cluster_first5"], rel=1e-3)
        assert full.sum().item() == pytest.approx(expected["graphcam_cluster_sum"], rel=1e-3)
        known = expected["grad_x_attention_cluster_first5"]
        assert simple[:5].tolist() == pytest.approx(known, rel=1e-5)
        steps, x = [], module.model.clusters(bag).tokens
        for block in module.model.blocks:
            steps.append(block(x))
            x = steps[-1].y
        token = module.model.norm(x)[:, 0]
        parts = relevance(module.model.blocks, steps, token, module.head, output)
    sums = [part.sum().item() for part in parts]
    assert sums == pytest.approx(expected["relevance_block_sums"], rel=1e-3)


def test_torchmils_form_is_its_formula():
    """Literally, with A dense; with an epsilon of 1e-5 it is torchmil 1.0.2's output to the bit."""
    torch.manual_seed(0)
    model = build_model("gtp", 24, preset="torchmil", clusters=5, heads=2, inner=8).double().eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.25)
    edges = eight_neighbours()
    x = torch.from_numpy(golden_input(0, 24))
    bag = Bag.single(x, edge_index=edges, edge_weight=torch.ones(edges.shape[1]).double())
    a = torch.zeros(64, 64).double()
    a[edges[1], edges[0]] = 1
    power = a.sum(1).rsqrt()
    a = a * power * power[:, None]

    y = ((a @ x + x) @ model.embed.weight.T + model.bias).relu()
    s = model.assign(y).softmax(1)
    tokens = torch.cat([model.token[0], s.T @ y])
    (block,) = model.blocks
    q, k, v = block.qkv(block.norm1(tokens)).view(6, 3, 2, 4).permute(1, 2, 0, 3)
    heard = ((q @ k.mT / 2).softmax(-1) @ v).transpose(0, 1).flatten(1)
    u = block.enter(tokens) + block.project(heard)
    u = u + block.second(block.first(block.norm2(u)).relu())
    embedding = model(bag)
    torch.testing.assert_close(embedding.vector[0], model.norm(block.leave(u))[0])
    mincut = -(s.T @ a @ s).trace() / (s.T @ a.sum(1).diag() @ s).trace()
    torch.testing.assert_close(embedding.penalties["mincut"][0], mincut)
    assert block.first.weight.shape == (32, 8)


def test_maps_of_torchmils_form_go_through_its_layers():
    """Relevance of a sum is handed on whole, here through a layer of another width inside."""
    torch.manual_seed(0)
    model = build_model("gtp", 24, preset="torchmil", clusters=5, heads=2, inner=8).double().eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    linear, x = nn.Linear(24, 2).double(), torch.from_numpy(golden_input(0, 24))
    bag = Bag.single(x, edge_index=eight_neighbours())
    maps = torch.stack([graph_cam(model, bag, linear, output) for output in (0, 1)])
    assert maps.shape == (2, 64)
    assert maps.min() >= 0
    assert maps.max() > 0
    with torch.no_grad():
        steps = model.blocks[0](model.clusters(bag).tokens)
        told = relevance(model.blocks, [steps], model.norm(steps.y)[:, 0], linear, 1)
    assert told[0].shape == (1, 2, 6, 6)
    assert not told[0][:, :, 1:].any()  # the class token alone is read


def test_maps_of_bags_are_those_of_each_alone():
    torch.manual_seed(0)
    model, linear = build_model("gtp", 24, clusters=6).eval(), nn.Linear(64, 3)
    bags = [example_bag(16, seed=0), example_bag(40, seed=1)]
    together = graph_cam(model, pack(bags), linear, 2)
    alone = torch.cat([graph_cam(model, bag, linear, 2) for bag in bags])
    torch.testing.assert_close(together, alone)
    assert (together >= 0).all()
    assert all(p.grad is None for p in model.parameters())


def test_relevance_is_kept():
    """A linear layer without signs and a sum hand on what they are given."""
    torch.manual_seed(0)
    x, weight, r = torch.rand(3, 5), torch.rand(4, 5), torch.randn(3, 4)
    torch.testing.assert_close(of_linear(x, weight, r).sum(1), r.sum(1))
    a, b = of_sum(torch.randn(3, 5), torch.randn(3, 5), torch.rand(3, 5) + 1)
    assert a.sum() + b.sum() > 0
    assert not of_linear(torch.zeros(3, 5), weight, r).any()


def test_bags_know_of_each_other_in_training_only():
    torch.manual_seed(0)
    model = build_model("gtp", 24, clusters=6)
    bags = [example_bag(16, seed=0), example_bag(40, seed=1)]
    other = [bags[0], example_bag(40, seed=2)]
    before, after = model(pack(bags)).vector[0], model(pack(other)).vector[0]
    assert not torch.allclose(before, after)
    model.eval()
    torch.testing.assert_close(model(pack(bags)).vector[0], model(pack(other)).vector[0])


def test_a_single_node_is_no_batch():
    alone = Bag.single(torch.randn(1, 24), edge_index=torch.empty(2, 0, dtype=torch.int64))
    model = build_model("gtp", 24, clusters=6).train()
    embedding = model(alone)
    (embedding.vector.sum() + embedding.penalties["mincut"].sum()).backward()
    assert torch.isfinite(embedding.vector).all()
