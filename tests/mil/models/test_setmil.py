"""SETMIL against the values of the original, and what becomes of the map."""

import json
from pathlib import Path

import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn
from torch.nn.functional import cross_entropy

from mil.bags import Bag, pack
from mil.models import build_model
from mil.nn.reduced_map import ReducedMap
from mil.nn.segments import bag_softmax

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/setmil.json"
T2T = {
    "attn.proj": "out.0",
    "attn.qkv.weight": "qkv.weight",
    "mlp.fc1": "mlp.1",
    "mlp.fc2": "mlp.4",
    "norm1": "norm",
    "norm2": "mlp.0",
}
BLOCK = {
    "attn.proj": "attention.out",
    "attn.qkv.weight": "attention.qkv.weight",
    "attn.rpe_q.lookup_table_bias": "attention.tables.q_all",
    "mlp.fc1": "mlp.1",
    "mlp.fc2": "mlp.4",
    "norm1": "norm",
    "norm2": "mlp.0",
}


def golden_names(pyramid):
    names = {"cls_token": "token", "head": "head", "norm": "model.norm"}
    for theirs, ours in T2T.items():
        names[f"channel_reduce.reduce.attention.{theirs}"] = f"model.reduce.{ours}"
        for i in range(3 if pyramid else 0):
            names[f"aspp.p{i + 1}.attention.{theirs}"] = f"model.pyramid.{i}.{ours}"
    for i in range(2):
        names |= {f"blocks.{i}.{a}": f"model.layers.{i}.{b}" for a, b in BLOCK.items()}
    return names


@pytest.mark.parametrize("pyramid", [8, None])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(pyramid, p):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    case = json.loads(GOLDEN.read_text())["cases"][0 if pyramid else 1]
    module = nn.Module()
    model = module.model = build_model(
        "setmil", 64, preset="paper", canvas=16, reduced=16, pyramid=pyramid, layers=2, heads=4
    )
    del model.token
    module.token = nn.Parameter(torch.empty(1, 1, model.out_dim))  # the original's shape
    module.head = nn.Linear(model.out_dim, 2)
    module.double().eval()
    names = golden_names(pyramid)
    golden_fill(module, names, case["norm_weights"])
    model.token = nn.Parameter(module.token.detach()[0, 0])

    # Every cell of the canvas, most of them zero: the file has the gradient by all of them.
    x = torch.zeros(16, 16, 64, dtype=torch.float64)
    x[:8, :8] = torch.from_numpy(golden_input(p, 64)).view(8, 8, 64)
    n = torch.arange(256)
    coords = torch.stack([n % 16, n // 16], 1) * 256
    x = x.view(256, 64).requires_grad_()
    logits = module.head(model(Bag.single(x, coords=coords)).vector)
    expected = case["expected"][f"x_{p}"]
    near = {"abs": 1e-5}
    assert logits[0].tolist() == pytest.approx(expected["logits"], **near)
    other = cross_entropy(logits, torch.tensor([0]))
    assert other.item() == pytest.approx(expected["loss_label0"], **near)
    loss = cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss_label1"], **near)
    found = {name: p.grad for name, p in module.named_parameters()} | {"token": model.token.grad}
    for name, norm in expected["grad_norms_label1"].items():
        layer, _, kind = name.rpartition(".")
        ours = names.get(name) or f"{names.get(layer)}.{kind}"
        grad = x.grad if name == "input" else found[ours]
        assert grad.norm().item() == pytest.approx(norm, rel=1e-6, **near), name

    inside = n[(n % 16 < 8) & (n // 16 < 8)]  # cells that are not there are zeros
    alone = model(Bag.single(x.detach()[inside], coords=coords[inside]))
    torch.testing.assert_close(module.head(alone.vector), logits)


def small(**options):
    torch.manual_seed(0)
    sizes = {"reduced": 8, "pyramid": 4, "layers": 2, "heads": 2}
    return build_model("setmil", 24, **{**sizes, **options}).eval()


def at(*cells):
    return torch.tensor([[column, row] for row, column in cells]) * 512


def test_a_map_may_lie_anywhere_and_of_any_step():
    model, bag = small(), example_bag(40)
    moved = Bag.single(bag.features, coords=bag.coords // 2 + 4096)
    torch.testing.assert_close(model(moved).vector, model(bag).vector)


def test_what_lies_outside_the_canvas_is_lost():
    model = small(canvas=4)
    x = torch.randn(3, 24)
    coords = at((0, 0), (0, 1), (0, 9))
    whole = model(Bag.single(x, coords=coords))
    inside = model(Bag.single(x[:2], coords=coords[:2]))
    torch.testing.assert_close(whole.vector, inside.vector)
    assert whole.scores[2] < whole.scores[:2].min() - 50


def test_instances_of_one_cell_are_averaged_or_on_a_canvas_added_up():
    x = torch.randn(3, 24)
    coords = at((0, 0), (0, 1), (0, 0))
    for options, one in (({}, (x[0] + x[2]) / 2), ({"canvas": 4}, x[0] + x[2])):
        model = small(**options)
        both = model(Bag.single(x, coords=coords)).vector
        joined = model(Bag.single(torch.stack([one, x[1]]), coords=coords[:2])).vector
        torch.testing.assert_close(both, joined, rtol=1e-4, atol=1e-5)


def test_every_instance_has_a_share():
    """Also with stride 4, whose windows of five hardly overlap."""
    for stride in (1, 2, 3, 4):
        model = small(stride=stride)
        bag = pack([example_bag(33, seed=0), example_bag(7, seed=1)])
        scores = model(bag).scores
        assert scores.min() > -30
        weights = bag_softmax(scores, bag.offsets)
        torch.testing.assert_close(weights[:33].sum(), torch.tensor(1.0))


def test_shares_are_the_attention_of_the_windows_an_instance_is_in():
    """A single token: what it gets is divided among the instances it sees."""
    model = small(stride=4)
    bag = Bag.single(torch.randn(3, 24), coords=at((0, 0), (0, 1), (1, 0)))
    scores = model(bag).scores
    torch.testing.assert_close(scores, scores[:1].expand(3))


def test_large_bags_are_reduced_more(monkeypatch):
    bag, model = example_bag(64), small()
    monkeypatch.setattr("mil.models.setmil.LARGE", 63)
    assert model._strides(pack([bag, example_bag(32, seed=1)])) == [4, 2]
    assert small(canvas=4)._strides(bag) == [2]
    packed = pack([bag, example_bag(32, seed=1)])
    torch.testing.assert_close(model(packed).vector[:1], model(bag).vector, rtol=1e-4, atol=1e-5)


def test_sides_of_the_map_are_not_confused():
    """The trap: tokens reshaped instead of transposed. A row of patches is no column of them."""
    model, x = small(), torch.randn(6, 24)
    row = model(Bag.single(x, coords=at(*[(0, i) for i in range(6)]))).vector
    column = model(Bag.single(x, coords=at(*[(i, 0) for i in range(6)]))).vector
    assert (row - column).abs().max() > 1e-3


def test_torchmils_form_takes_every_patch_for_a_token():
    torch.manual_seed(0)
    sizes = {"reduced": 8, "pyramid": 6, "join": 4, "heads": 2}
    model = build_model("setmil", 24, preset="torchmil", **sizes).eval()
    bag = example_bag(40)
    linear = nn.functional.linear(bag.features, model.reduce.weight, model.reduce.bias)
    cells, image = bag.coords.flip(1) // 1024, torch.zeros(1, 8, 5, 8)
    image[0, :, cells[:, 0], cells[:, 1]] = linear.T
    for scale in model.pyramid:  # all cells are there, so that windows are those of the image
        side = scale.kernel
        windows = nn.functional.unfold(image, side, padding=side // 2)[0].T
        expected = scale.qkv(scale.norm(windows))
        found = ReducedMap.of(bag, "setmil", [1], 1, None)
        tokens = model._reduced(bag, found)
        torch.testing.assert_close(
            scale.project(tokens, found.around(side)), expected, rtol=1e-4, atol=1e-5
        )
    assert model.out_dim == 4
    assert model._strides(bag) == [1]
    assert len(found.tokens) == 40


def test_without_a_reduction_the_share_of_a_token_is_that_of_its_patch():
    model = small(stride=None)
    bag = Bag.single(torch.randn(4, 24), coords=at((0, 0), (0, 1), (3, 0), (0, 1)))
    shares = model(bag).scores.exp()
    torch.testing.assert_close(shares[1], shares[3])  # of one cell
    on_canvas = small(stride=None, canvas=4)(bag)
    assert torch.isfinite(on_canvas.vector).all()
