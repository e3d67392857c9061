"""CAMIL against the values of the original's layers, and its graph."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import example_bag, golden_input
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import Bag, BagError
from mil.models import build_model
from mil.nn.reading_order import bag_cells
from mil.nn.segments import bag_softmax
from mil.nn.similarity_graph import similarity_graph
from mil.registry import UnknownNameError

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/camil.json"
NAMES = {
    "att.u": "model.pool.gate.0.weight",
    "att.v": "model.pool.direction.0.weight",
    "att.w": "model.pool.score.weight",
    "cls.bias": "head.bias",
    "cls.kernel": "head.weight",
    "encoder.nystrom.out.bias": "model.attention.out.bias",
    "encoder.nystrom.out.kernel": "model.attention.out.weight",
    "encoder.nystrom.qkv.kernel": "model.attention.qkv.weight",
    "encoder.nystrom.res_conv.kernel": "model.attention.residual.filter.weight",
    "encoder.wk": "model.key.weight",
    "encoder.wq": "model.query.weight",
    "encoder.wv.bias": "model.value.bias",
    "encoder.wv.kernel": "model.value.weight",
}


def fill(module, shapes):
    """By the file's own rule: kernels are input-first, [33, 1, inputs, outputs] of the filter."""
    parameters = dict(module.named_parameters())
    assert sorted(NAMES.values()) == sorted(parameters)
    with torch.no_grad():
        for k, name in enumerate(sorted(shapes)):
            g = np.random.RandomState(1000 + k).standard_normal(shapes[name])
            if g.ndim == 1:
                g = 0.1 * g
            else:
                g = g / np.sqrt(np.prod(g.shape[:-1])) * (0.3 if name[-2:] in ("wq", "wk") else 1)
                g = g[:, 0].transpose(2, 1, 0) if g.ndim == 4 else g.T
            parameters[NAMES[name]].copy_(torch.from_numpy(np.ascontiguousarray(g)))


def square(x, name=""):
    n = torch.arange(len(x))
    return Bag.single(x, name, coords=torch.stack([n % 8, n // 8], 1) * 256)


@pytest.mark.parametrize("mode", ["code", "paper"])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(mode, p):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    golden = json.loads(GOLDEN.read_text())
    module = nn.Module()
    model = module.model = build_model("camil", 512, preset=mode)
    module.head = nn.Linear(512, 1)
    for layer in (model.pool.gate[0], model.pool.direction[0], model.pool.score):
        layer.register_parameter("bias", None)
    module.double().eval()
    fill(module, golden["parameters"])

    expected = golden["expected"][f"x_{p}"][mode]
    near = {"abs": 2e-6}
    bag = square(torch.from_numpy(golden_input(p, 512)))
    embedding = model(bag)
    logit = module.head(embedding.vector)[0, 0]
    assert logit.item() == pytest.approx(expected["logit"], **near)
    weights = bag_softmax(embedding.scores, bag.offsets)
    cells = bag_cells(bag, "camil")
    t = model._context(bag.features, bag.offsets, torch.arange(64))
    e = model.neighbour_scores(t, similarity_graph(bag, cells[:, 1:]))
    for key, found in {
        "contextual_row0_first5": t[0],
        "neighbour_score_first5": e,
        "neighbour_softmax_first5": e.softmax(0),
        "fused_row0_first5": embedding.pooled[0],
        "attention_raw_first5": embedding.scores,
        "attention_softmax_first5": weights,
    }.items():
        assert found[:5].tolist() == pytest.approx(expected[key], **near), key
    assert logit.sigmoid().item() == pytest.approx(expected["probability"], **near)
    other = binary_cross_entropy_with_logits(logit, torch.zeros_like(logit))
    assert other.item() == pytest.approx(expected["loss_label0"], **near)
    loss = binary_cross_entropy_with_logits(logit, torch.ones_like(logit))
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss_label1"], **near)
    found = dict(module.named_parameters())
    for name, norm in expected["grad_norms_label1"].items():
        grad = found[NAMES[name]].grad
        assert grad.norm().item() == pytest.approx(norm, rel=1e-6, **near), name


def test_graph_of_the_original():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    expected = json.loads(GOLDEN.read_text())["expected"]
    for p in (0, 1):
        bag = square(torch.from_numpy(golden_input(p, 512)))
        graph = similarity_graph(bag, bag_cells(bag, "camil")[:, 1:])
        for row in (0, 27):
            edges = slice(graph.offsets[row], graph.offsets[row + 1])
            found = dict(
                zip(graph.source[edges].tolist(), graph.weight[edges].tolist(), strict=True)
            )
            told = expected[f"x_{p}"][f"graph_row{row}"]
            wanted = dict(zip(told["neighbours"], told["weights"], strict=True))
            assert found == pytest.approx(wanted, abs=2e-6)


def test_graph_of_few_instances():
    for n in (1, 2, 5):
        bag = square(torch.randn(n, 8))
        graph = similarity_graph(bag, bag_cells(bag, "camil")[:, 1:])
        assert graph.offsets.diff().tolist() == [n] * n
        assert torch.isfinite(graph.weight).all()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model("camil", 24, hidden=16, heads=2, landmarks=8, keys=4, attention=4).eval()


def test_neighbour_score_is_the_masked_product_of_all_pairs(model):
    """(exact): a sparse product in the place of two dense ones."""
    bag = example_bag(30)
    t = torch.randn(30, 16)
    graph = model._graph(bag, bag_cells(bag, "camil"))
    dense = graph.product(torch.eye(30))
    assert (dense.diagonal() >= 1).all()
    pairs = model.query(t) @ model.key(t).T / 4**0.5
    expected = (dense * pairs).sum(1)
    torch.testing.assert_close(model.neighbour_scores(t, graph), expected, rtol=1e-5, atol=1e-6)


def test_value_is_of_the_instance_not_of_its_context(model):
    """The trap: L comes from h, so that without W_v, M is a function of T alone."""
    bag = example_bag(30)
    h, t = torch.randn(30, 16), torch.randn(30, 16)
    graph = model._graph(bag, bag_cells(bag, "camil"))
    share = model.neighbour_scores(t, graph).softmax(0).unsqueeze(1)
    m = model._fuse(t, h, share[:, 0])
    local = share * (h @ model.value.weight.T + model.value.bias)
    torch.testing.assert_close(m, local.sigmoid() * local + (1 - local.sigmoid()) * t)


def test_pooled_averages_to_the_vector(model):
    bag = example_bag(30)
    embedding = model(bag)
    weights = embedding.scores.softmax(0).unsqueeze(1)
    torch.testing.assert_close((weights * embedding.pooled).sum(0), embedding.vector[0])


def test_recomputation_changes_nothing(model, monkeypatch):
    gradients = []
    for large in (10, 1000):
        monkeypatch.setattr("mil.nn.recompute.LARGE", large)
        monkeypatch.setattr("mil.models.camil.LARGE", large)
        monkeypatch.setattr("mil.models.camil.CHANNELS", 3)
        monkeypatch.setattr("mil.nn.recompute.RUN", 7)
        model.zero_grad()
        model(example_bag(30)).vector.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_torchmils_form_is_its_formula_with_values_of_the_instance():
    """Literally, all pairs; with values of T it is torchmil 1.0.2's output to 1e-16."""
    torch.manual_seed(0)
    sizes = {"hidden": 16, "keys": 16, "landmarks": 8, "attention": 6}
    model = build_model("camil", 24, preset="torchmil", **sizes).double().eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.25)
    bag, n = example_bag(32), torch.arange(32)
    cells = torch.stack([n // 8, n % 8], 1)
    near = ((cells[:, None] - cells).abs().amax(2) == 1).double()
    edges = near.nonzero().T
    bag = Bag.single(
        bag.features.double(),
        coords=bag.coords,
        edge_index=edges,
        edge_weight=torch.ones(edges.shape[1]).double(),
    )

    h = bag.features @ model.embed[0].weight.T + model.embed[0].bias
    x = nn.functional.layer_norm(h, (16,), model.norm.weight, model.norm.bias)
    q, k, v = (x @ model.attention.qkv.weight.T).view(32, 3, 4, 4).permute(1, 2, 0, 3)
    q_mean, k_mean = (each.view(4, 8, 4, 4).mean(2) for each in (q, k))
    outer, inner, last = (
        (a @ b.mT / 2).softmax(-1) for a, b in ((q, k_mean), (q_mean, k_mean), (q_mean, k))
    )
    z = inner.mT / (inner.sum(-2).max() * inner.sum(-1).max())
    eye = torch.eye(8).double()
    for _ in range(6):
        az = inner @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    t = h + (outer @ z @ last @ v).permute(1, 0, 2).flatten(1)
    power = near.sum(1).rsqrt()
    weights = near * power * power[:, None]
    e = (weights * (t @ model.query.weight.T @ model.key.weight @ t.T) / 4).sum(1)
    local = e.softmax(0)[:, None] * (h @ model.value.weight.T + model.value.bias)
    m = local.sigmoid() * local + (1 - local.sigmoid()) * t
    first = model.pool.direction[0]
    f = (t @ first.weight.T + first.bias).tanh() @ model.pool.score.weight[0]
    torch.testing.assert_close(model(bag).vector[0], f.softmax(0) @ m)
    assert not hasattr(model.attention.out, "weight")
    assert model.pool.gate is None


def test_what_is_not_there_is_a_sentence(model):
    with pytest.raises(BagError, match=r"patient P7: no edges, which model camil reads"):
        model(square(torch.zeros(3, 24), "P7"))
    with pytest.raises(UnknownNameError, match=r"fusion is 'papr'; did you mean paper"):
        build_model("camil", 24, fusion="papr")
