"""Patch-GCN against the values of the original modules, and what is its own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn

from mil.bags import Bag, BagError, pack
from mil.heads import build_head
from mil.models import build_model
from mil.network import Network
from mil.nn import joined_linear
from mil.nn.segments import bag_softmax
from mil.registry import UnknownNameError
from mil.survival.losses.nll import hazards_to_survival, nll_loss

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/patch_gcn.json"


def names(layers, prefix="backbone.", ours="model."):
    """Names of the original's layers; its first norm is never used, so we have none."""
    found = {
        "fc.0": "fc.0",
        "path_phi.0": "phi.0",
        "path_attention_head.attention_a.0": "pool.direction.0",
        "path_attention_head.attention_b.0": "pool.gate.0",
        "path_attention_head.attention_c": "pool.score",
    }
    for i in range(layers):
        found |= {
            f"layers.{i}.conv.t": f"convs.{i}.t",
            f"layers.{i}.conv.mlp.0": f"convs.{i}.mlp.0",
            f"layers.{i}.conv.mlp.1": f"convs.{i}.mlp.1",
            f"layers.{i}.conv.mlp.4": f"convs.{i}.mlp.3",
            f"layers.{i}.norm": f"norms.{i - 1}" if i else None,
        }
    return {prefix + original: name and ours + name for original, name in found.items()}


def norm_weights(layers, prefix="backbone."):
    return [
        f"{prefix}layers.{i}.{norm}.weight"
        for i in range(layers)
        for norm in ("norm", "conv.mlp.1")
    ]


@pytest.mark.parametrize(
    ("noise", "parameters", "values"),
    [
        ("0-1", 272_323, (-0.552050, -0.564228)),
        ("1-1", 280_515, (-0.170948, -0.168524)),
        ("1-0", 280_451, (-0.237088, -0.233660)),
    ],
)
def test_values_of_advmils_generator(noise, parameters, values):
    model = build_model("patchgcn", 1024)
    head = build_head("adversarial", model.out_dim, {"t_ref": 1.0}, noise=noise)
    network = Network(model, head, None).eval()
    unused = 2 * 128  # weight and bias of the original's first norm
    assert sum(p.numel() for p in network.parameters()) == parameters - unused
    of_head = {"MLPs.0.0": "head.layers.0", "MLPs.1.0": "head.layers.1"}
    golden_fill(network, of_head | names(1), norm_weights(1))
    zeros = torch.zeros(1, 1, sum(head.noise_widths))
    node = torch.arange(64)
    edges = torch.stack([node.repeat(2), torch.cat([node + 1, node * node + 5]) % 64])
    for p, expected in enumerate(values):
        bag = Bag.single(torch.from_numpy(golden_input(p)).float(), edge_index=edges)
        with torch.no_grad():
            logit = head.logits(model(bag).vector, zeros)
        assert logit.item() == pytest.approx(expected, abs=2e-5)


def grid():
    row, column = np.divmod(np.arange(64), 8)
    near = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) == 1
    return np.stack(np.nonzero(near))


def directed():
    return np.stack([np.arange(64), (np.arange(64) ** 2 + 5) % 64])


@pytest.mark.parametrize(("graph", "edges"), [("grid8", grid()), ("directed", directed())])
@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("edge_agg", ["spatial", "latent"])
def test_values_of_the_original_with_three_convolutions(graph, edges, p, edge_agg):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    module = nn.Module()
    module.model = build_model("patchgcn", 1024, preset="paper", edge_agg=edge_agg)
    module.classifier = nn.Linear(512, 4)
    module.double().eval()
    mapped = names(3, "") | {"path_rho.0": "model.rho.0", "classifier": "classifier"}
    golden_fill(module, mapped, norm_weights(3, ""))

    expected = json.loads(GOLDEN.read_text())["expected"][f"{graph} x_{p}"]
    near = {"rel": 1e-5, "abs": 1e-6}
    key = {"spatial": "edge_index", "latent": "edge_latent"}[edge_agg]
    bag = Bag.single(torch.from_numpy(golden_input(p)), **{key: torch.from_numpy(edges)})
    layers = list(module.model._layers(bag.features, module.model._graph(bag)))
    embedding = module.model(bag)
    for layer, node in ((0, 0), (0, 5), (1, 0), (2, 0)):
        first = layers[1 + layer][node, :5].tolist()
        assert first == pytest.approx(expected[f"layer{layer}_node{node}_first5"], **near)
    logits = module.classifier(embedding.vector)[0]
    assert logits.tolist() == pytest.approx(expected["logits"], **near)
    attention = expected["attention"]
    weights = bag_softmax(embedding.scores, bag.offsets)
    assert embedding.scores[:5].tolist() == pytest.approx(attention["raw_first5"], **near)
    assert weights[:5].tolist() == pytest.approx(attention["normalised_first5"], **near)
    assert weights.argmax().item() == attention["argmax"]
    assert weights.max().item() == pytest.approx(attention["normalised_max"], **near)

    survival = hazards_to_survival(logits.sigmoid())
    assert logits.sigmoid().tolist() == pytest.approx(expected["hazards"], **near)
    assert survival.tolist() == pytest.approx(expected["survival"], **near)
    assert -survival.sum().item() == pytest.approx(expected["risk_minus_sum_survival"], **near)

    def likelihood(number, censored, alpha=0.0):
        event = torch.tensor([1.0 - censored]).double()
        return nll_loss(logits.unsqueeze(0), torch.tensor([number]), event, alpha)

    for number in range(4):
        for censored in (0, 1):
            known = expected["nll"][f"bin{number}_c{censored}"]
            assert likelihood(number, censored).item() == pytest.approx(known, **near)
    known = expected["nll_alpha0.4_bin1_c1"]
    assert likelihood(1, 1, alpha=0.4).item() == pytest.approx(known, **near)
    likelihood(1, 0).backward()
    found = dict(module.named_parameters())
    checked = 0
    for original, norm in expected["grad_norms_nll_bin1_c0_alpha0"].items():
        layer, kind = original.rsplit(".", 1)
        name = (
            mapped[original] if original in mapped else mapped[layer] and f"{mapped[layer]}.{kind}"
        )
        if name is not None:
            assert found[name].grad.norm().item() == pytest.approx(norm, rel=1e-5, abs=1e-6), name
            checked += 1
    assert checked == len(found)


@pytest.mark.parametrize(
    ("p", "logit", "raw"),
    [
        (0, -0.952338, (-0.067705, 0.135353, -0.213193)),
        (1, -0.838486, (-0.056417, 0.032066, -0.359691)),
    ],
)
@pytest.mark.parametrize("columns", [0, 1024])  # parts one by one, or side by side
def test_values_of_torchmil(p, logit, raw, columns, monkeypatch):
    """Measured on torchmil 1.0.2: four convolutions as wide as the features, plain blocks."""
    monkeypatch.setattr(joined_linear, "COLUMNS", columns)
    module = nn.Module()
    module.model = build_model("patchgcn", 64, preset="torchmil")
    module.model.pool.score.register_parameter("bias", None)  # torchmil has none
    module.classifier = nn.Linear(64, 1)
    module.double().eval()
    mapped = {
        "mlp.0.0.module": "model.phi.0",
        "pool.fc1.module": "model.pool.direction.0",
        "pool.fc2.weight": "model.pool.score.weight",
        "classifier.module": "classifier",
    }
    for i in range(4):
        mapped[f"gcn_layers.{i}.conv.fc.module"] = f"model.convs.{i}.linear"
        mapped[f"gcn_layers.{i}.norm"] = f"model.norms.{i}"
    golden_fill(module, mapped, [f"gcn_layers.{i}.norm.weight" for i in range(4)])
    edges = torch.from_numpy(grid())
    bag = Bag.single(torch.from_numpy(golden_input(p, 64)), edge_index=edges)
    embedding = module.model(bag)
    assert module.classifier(embedding.vector).item() == pytest.approx(logit, abs=2e-6)
    assert embedding.scores[:3].tolist() == pytest.approx(raw, abs=2e-6)
    mend = replace(bag, edge_index=edges[:, edges[0] < edges[1]])  # of each edge one direction
    torch.testing.assert_close(module.model(mend).vector, embedding.vector)
    module.model.direction = "reverse_knn"
    assert not torch.allclose(module.model(mend).vector, embedding.vector, rtol=1e-3)
    embedding.vector.square().sum().backward()
    assert [n for n, q in module.model.named_parameters() if not q.grad.abs().sum() > 0] == []


def test_slides_and_patients_do_not_hear_of_each_other():
    model = build_model("patchgcn", 24, num_layers=3).eval()
    bags = [example_bag(16, seed=0), example_bag(48, seed=1)]
    before = model(pack(bags)).vector
    bags[0].features[3] += 1
    after = model(pack(bags)).vector
    assert not torch.equal(after[0], before[0])
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)


def test_messages_go_from_source_to_target():
    """A chain 0 -> 1 -> 2 -> 3: after L convolutions a node knows of those up to L before it."""
    chain = torch.tensor([[0, 1, 2], [1, 2, 3]])
    for layers in (1, 2):
        model = build_model("patchgcn", 24, num_layers=layers).eval().double()
        x = torch.randn(4, 24, dtype=torch.float64, requires_grad=True)
        model(Bag.single(x, edge_index=chain)).scores[3].backward()
        heard = x.grad.abs().sum(1) > 0
        assert heard.tolist() == [n >= 3 - layers for n in range(4)]


def test_the_paper_has_no_dropout_of_sums():
    paper = build_model("patchgcn", 24, preset="paper")
    assert (paper.drop.p, build_model("patchgcn", 24).drop.p) == (0.0, 0.1)


def test_edges_may_run_both_ways():
    """Which of the two ends has the other among its neighbours makes no difference then."""
    torch.manual_seed(0)
    model = build_model("patchgcn", 24, num_layers=2, direction="symmetric").eval()
    bag = example_bag(32)
    turned = replace(bag, edge_index=bag.edge_index.flip(0))
    torch.testing.assert_close(model(turned).vector, model(bag).vector)
    both = torch.cat([bag.edge_index, bag.edge_index.flip(0)], 1).unique(dim=1)
    model.direction = "reverse_knn"
    torch.testing.assert_close(
        model(replace(bag, edge_index=both)).vector, model(replace(turned, edge_index=both)).vector
    )
    assert not torch.allclose(model(turned).vector, model(bag).vector, rtol=1e-3)


@pytest.mark.parametrize("block", ["res+", "plain"])
def test_other_blocks(block):
    torch.manual_seed(0)
    model = build_model("patchgcn", 24, num_layers=2, block=block).eval()
    bag = example_bag(32)
    model(bag).vector.square().sum().backward()
    assert [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []
    before = model(bag).vector
    model.block = "res"
    assert not torch.allclose(model(bag).vector, before, rtol=1e-3)
    with pytest.raises(UnknownNameError, match=r"block is 'rse'; did you mean res"):
        build_model("patchgcn", 24, block="rse")


def test_recomputation_changes_nothing(monkeypatch):
    """Of large bags layers, and what they are side by side, are made again: to the bit."""
    torch.manual_seed(0)
    model, bag = build_model("patchgcn", 24, num_layers=3, dropout=0.5), example_bag(30)
    found = []
    for large in (10, 1000):
        monkeypatch.setattr("mil.nn.recompute.LARGE", large)
        torch.manual_seed(1)
        model.zero_grad()
        vector = model(bag).vector
        vector.square().sum().backward()
        found.append([vector, *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_gradient_reaches_every_layer():
    model = build_model("patchgcn", 24, num_layers=4)
    model(example_bag()).vector.square().sum().backward()
    assert [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_a_bag_without_edges():
    alone = Bag.single(torch.randn(1, 24), edge_index=torch.empty(2, 0, dtype=torch.int64))
    model = build_model("patchgcn", 24)
    embedding = model(alone)
    embedding.vector.sum().backward()
    assert torch.isfinite(embedding.vector).all()
    assert torch.isfinite(model.fc[0].weight.grad).all()


def test_edges_that_are_not_there_are_a_sentence():
    bag = Bag.single(torch.randn(4, 24), "P7", edge_index=torch.tensor([[0], [1]]))
    with pytest.raises(BagError, match=r"P7: no edge_latent.*Set graphs: \{latent: true\}"):
        build_model("patchgcn", 24, edge_agg="latent")(bag)
    with pytest.raises(BagError, match=r"P7: no edge_index.*Load bags"):
        build_model("patchgcn", 24)(Bag.single(torch.randn(4, 24), "P7"))
    with pytest.raises(UnknownNameError, match=r"edge_agg is 'spatail'; did you mean spatial"):
        build_model("patchgcn", 24, edge_agg="spatail")
