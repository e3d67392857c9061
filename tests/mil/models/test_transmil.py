"""TransMIL against the values of the original, and where its instances lie."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import example_bag, golden_fill, golden_input, reordered
from torch import nn
from torch.nn.functional import cross_entropy

from mil.bags import Bag, BagError, pack
from mil.models import build_model
from mil.nn.reading_order import reading_order
from mil.registry import UnknownNameError

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/transmil.json"
NAMES = {"_fc1.0": "model.embed.0", "_fc2": "head", "cls_token": "token", "norm": "model.norm"}
for number in (0, 1):
    layer, attention = f"layer{number + 1}", f"model.attentions.{number}"
    NAMES |= {
        f"{layer}.norm": f"model.norms.{number}",
        f"{layer}.attn.res_conv.weight": f"{attention}.residual.filter.weight",
        f"{layer}.attn.to_out.0": f"{attention}.out",
        f"{layer}.attn.to_qkv.weight": f"{attention}.qkv.weight",
    }
for number, name in enumerate(("proj", "proj1", "proj2")):
    NAMES[f"pos_layer.{name}"] = f"model.positions.convolutions.{number}"
INPUTS = {
    "x_0": golden_input(0),
    "x_1": golden_input(1),
    "x_2_long": np.maximum(np.random.RandomState(9).standard_normal((300, 1024)), 0),
}


@pytest.fixture(scope="module")
def original():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    module = nn.Module()
    module.model = build_model("transmil", 1024, preset="paper")
    del module.model.token
    module.token = nn.Parameter(torch.empty(1, 1, 512))  # the original's shape, for the fill rule
    module.head = nn.Linear(512, 2)
    module.double().eval()
    golden_fill(module, NAMES, ["layer1.norm.weight", "layer2.norm.weight", "norm.weight"])
    module.model.token = nn.Parameter(module.token.detach()[0, 0])
    return module


@pytest.mark.parametrize("key", INPUTS)
def test_values_of_the_original(original, key):
    expected = json.loads(GOLDEN.read_text())["expected"][key]
    near = {"abs": 1e-6, "rel": 1e-5}
    model, bag = original.model, Bag.single(torch.from_numpy(INPUTS[key]))
    embedding = model(bag)
    steps_of_the_original(model, bag, expected, near)
    logits = original.head(embedding.vector)
    assert logits[0].tolist() == pytest.approx(expected["logits"], **near)
    first = embedding.vector[0, :5].tolist()
    assert first == pytest.approx(expected["final_class_token_first5"], **near)
    row = expected["class_row_layer2"]
    assert embedding.scores[:5].tolist() == pytest.approx(row["folded_first5"], **near)
    assert embedding.scores.sum().item() == pytest.approx(row["folded_sum"], **near)
    assert embedding.scores.argmax().item() == row["folded_argmax"]
    normalised = (embedding.scores / embedding.scores.sum())[:5].tolist()
    assert normalised == pytest.approx(row["normalised_first5"], **near)
    assert logits.softmax(1)[0].tolist() == pytest.approx(expected["probabilities"], **near)
    other = cross_entropy(logits, torch.tensor([0]))
    assert other.item() == pytest.approx(expected["ce_label0"], **near)

    original.zero_grad()
    loss = cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(expected["ce_label1"], **near)
    found = dict(original.named_parameters()) | {"token": original.model.token}
    norms = expected["grad_norms_ce_label1"]
    assert len(norms) == 25
    for name, norm in norms.items():
        ours = NAMES.get(name) or f"{NAMES[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"
        assert found[ours].grad.norm().item() == pytest.approx(norm, **near), name


@torch.no_grad()
def steps_of_the_original(model, bag, expected, near):
    """Tokens behind the first layer and the map, and the class token's row, as they come."""
    source, offsets = model._tokens(bag, None)
    assert (len(bag.features), len(source)) == (expected["n"], expected["tokens_with_class"])
    x = model._hear(model._embedded(bag.features, source), offsets)
    assert x[0, :5].tolist() == pytest.approx(expected["after_layer1_class_token_first5"], **near)
    assert x[1, :5].tolist() == pytest.approx(expected["after_layer1_token1_first5"], **near)
    x = model._locate(x, offsets, source, None)
    assert x[1, :5].tolist() == pytest.approx(expected["after_ppeg_token1_first5"], **near)
    (_, row), told = model._hear_as_token(x, offsets), expected["class_row_layer2"]
    assert row[0].item() == pytest.approx(told["class_token_itself"], **near)
    assert row[1:6].tolist() == pytest.approx(told["tokens_first5"], **near)
    assert row.sum().item() == pytest.approx(told["row_sum_without_padding"], **near)


def small(**options):
    torch.manual_seed(0)
    return build_model("transmil", 24, **{"hidden": 16, "heads": 2, **options}).eval()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8, 9, 17])
@pytest.mark.parametrize("layout", ["sorted", "true_grid", "list"])
def test_bags_of_every_size_go_alone_as_packed(n, layout):
    model = small(landmarks=8, layout=layout)
    bags = [example_bag(n, seed=0), example_bag(12, seed=1)]
    together = model(pack(bags))
    for i, bag in enumerate(bags):
        alone = model(bag)
        torch.testing.assert_close(together.vector[i], alone.vector[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.scores[n:], alone.scores, rtol=1e-4, atol=1e-6)


def test_the_first_instances_fill_the_square_and_get_their_repetition_s_attention():
    model = small(layout="list")
    bag = example_bag(7)
    repeated = Bag.single(torch.cat([bag.features, bag.features[:2]]))  # 9, a whole square
    short, whole = model(bag), model(repeated)
    torch.testing.assert_close(short.vector, whole.vector)
    folded = whole.scores[:7].clone()
    folded[:2] += whole.scores[7:]
    torch.testing.assert_close(short.scores, folded)


def test_sorted_is_the_list_in_reading_order():
    bag = example_bag(40)
    mixed = reordered(bag, torch.randperm(40, generator=torch.Generator().manual_seed(0)))
    at = small(layout="list"), small()
    at[1].load_state_dict(at[0].state_dict())
    torch.testing.assert_close(at[1](mixed).vector, at[0](bag).vector, rtol=1e-4, atol=1e-6)
    assert (at[0](mixed).vector - at[0](bag).vector).abs().max() > 1e-4


def test_reading_order_goes_slide_by_slide():
    cells = torch.tensor([[0, 0, 9], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    slide = torch.tensor([1, 0, 0, 0, 0])
    bag = Bag(torch.zeros(5, 2), torch.tensor([0, 4, 5]), slide=slide)
    assert reading_order(bag, cells).tolist() == [2, 4, 1, 0, 3]


def test_only_the_true_grid_knows_of_a_hole():
    """Eight of nine cells: in reading order those behind the hole move up."""
    coords = torch.stack([torch.arange(9) % 3, torch.arange(9) // 3], 1)
    x = torch.randn(9, 24, generator=torch.Generator().manual_seed(0))
    centre, corner = torch.arange(9) != 4, torch.arange(9) != 8
    for layout, differs in (("sorted", False), ("true_grid", True)):
        model = small(layout=layout)
        bags = [Bag.single(x[:8], coords=coords[kept]) for kept in (centre, corner)]
        change = (model(bags[0]).vector - model(bags[1]).vector).abs().max()
        assert (change > 1e-5) == differs


def test_true_grid_of_a_full_square_is_sorted():
    model, other = small(), small(layout="true_grid")
    bag = example_bag(64)
    torch.testing.assert_close(model(bag).vector, other(bag).vector, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", ["sorted", "true_grid"])
def test_recomputation_changes_nothing(layout, monkeypatch):
    bag = pack([example_bag(30, seed=0), example_bag(20, seed=1)])
    model = small(layout=layout, dropout=0.5).train()
    gradients = []
    for large in (10, 1000):
        monkeypatch.setattr("mil.nn.recompute.LARGE", large)
        torch.manual_seed(1)
        model.zero_grad()
        model(bag).vector.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_on_the_true_grid():
    model, bag = small(layout="true_grid"), example_bag(40)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(bag).vector
    torch.testing.assert_close(low.float(), model(bag).vector, rtol=0.1, atol=0.1)


def test_presets_are_the_published_forms():
    paper = build_model("transmil", 24, preset="paper")
    assert (paper.needs, paper.order_free, paper.layout) == ((), False, "list")
    assert paper.attentions[0].landmarks == 256
    torchmil = build_model("transmil", 24, preset="torchmil")
    assert torchmil.attentions[0].heads == 4
    assert torchmil.attentions[0].residual is None


def test_what_is_not_there_is_a_sentence():
    with pytest.raises(BagError, match=r"patient P7: no coordinates, which model transmil reads"):
        small()(Bag.single(torch.zeros(3, 24), "P7"))
    with pytest.raises(UnknownNameError, match=r"layout is 'sortd'; did you mean sorted"):
        small(layout="sortd")
