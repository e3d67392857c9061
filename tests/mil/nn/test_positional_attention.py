"""iRPE against the reference's values and the formula written out for all pairs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import golden_input

from mil.nn import block_attention
from mil.nn.positional_attention import METHODS, PositionalAttention, piecewise
from mil.problems import InputError

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/building_blocks.json"
METHOD = {"euc": "euclidean", "quant": "quantised"}
MODE = {"ctx": "contextual"}
AXIS = {"rows": "rows", "cols": "columns"}


def golden():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    return json.loads(GOLDEN.read_text())["blocks"]["iRPE"]


def fill(attention, shapes):
    parameters = dict(attention.named_parameters())
    for k, name in enumerate(sorted(shapes)):
        ours = name.replace("proj.", "out.")
        if name.startswith("rpe_"):
            axes = [ours for theirs, ours in AXIS.items() if theirs in name]
            ours = f"tables.{name[4]}_{axes[0] if axes else 'all'}"
        g = np.random.RandomState(1000 + k).standard_normal(shapes[name])
        g = g / np.sqrt(np.prod(g.shape[1:])) if g.ndim > 1 else 0.1 * g
        parameters.pop(ours).data.copy_(torch.from_numpy(g))
    assert not parameters


def grid(side=8):
    """Positions of a class token and a full square."""
    n = torch.arange(side * side)
    return torch.cat([torch.zeros(1, 2, dtype=torch.int64), torch.stack([n // side, n % side], 1)])


def test_values_of_the_reference():
    checked = set()
    for case in golden()["cases"]:
        method, mode = METHOD.get(case["method"], case["method"]), MODE.get(case["mode"], "bias")
        attention = PositionalAttention(64, 4, method, mode, case["on"], case["shared_head"])
        attention.double()
        fill(attention, case["parameters"])
        p = int(case["input"][2])
        token = np.random.RandomState(50 + p).standard_normal((1, 64))
        x = torch.from_numpy(np.concatenate([token, golden_input(p, 64)]))
        offsets = torch.tensor([0, 65])
        y = attention(x, offsets, grid())
        near = {"abs": 2e-6}
        for row, key in ((0, "class_token"), (1, "token0"), (28, "token27")):
            assert y[row, :5].tolist() == pytest.approx(case[f"out_{key}_first5"], **near)
        assert y.norm().item() == pytest.approx(case["out_norm"], **near)
        q, k, _ = attention._split(attention.qkv(x), 3)
        weights = attention._weights(q, k, attention._of_keys(k), grid(), 0, 65)
        expected = case["att_head0_token27_row_first5"]
        assert weights[0, 28, :5].tolist() == pytest.approx(expected, **near)
        expected = case["att_head0_class_row_first5"]
        assert weights[0, 0, :5].tolist() == pytest.approx(expected, **near)
        of_class, row = attention.of_class(x, offsets, grid())
        torch.testing.assert_close(of_class, y[:1])
        torch.testing.assert_close(row, weights[:, 0].mean(0))
        checked.add((method, mode, case["on"]))
    assert len(checked) == 8


def test_buckets_of_the_reference():
    told = golden()
    index = told["piecewise_index"]
    found = piecewise(torch.tensor([int(offset) for offset in index]))
    assert found.tolist() == list(index.values())
    tables = told["bucket_tables"]
    for key, method, name in (
        ("product", "product", "k_all"),
        ("euc", "euclidean", "k_all"),
        ("quant", "quantised", "k_all"),
        ("rows", "cross", "k_rows"),
        ("cols", "cross", "k_columns"),
    ):
        attention = PositionalAttention(8, 2, method, "contextual", "k")
        at = grid()
        bucket = attention._bucket(name, at, at, 0)
        assert (bucket[0] == METHODS[method]).all()
        assert (bucket[:, 0] == METHODS[method]).all()
        own = bucket[1:, 1:]
        assert bucket.sum().item() == tables[key]["sum"]
        assert own[0, :16].tolist() == tables[key]["row_token0_to_tokens_0_to_15"]
        assert own[27, :16].tolist() == tables[key]["row_token27_to_tokens_0_to_15"]


def random_tables(attention):
    with torch.no_grad():
        for table in attention.tables.values():
            table.normal_()


each_form = pytest.mark.parametrize(
    ("method", "mode", "on"),
    [
        ("euclidean", "bias", "q"),
        ("product", "contextual", "qkv"),
        ("cross", "contextual", "qkv"),
        ("product", "bias", "qk"),
    ],
)


@each_form
def test_the_class_token_hears_the_same_without_the_others(method, mode, on):
    """(exact): values and gradients, of several bags."""
    torch.manual_seed(0)
    attention = PositionalAttention(8, 2, method, mode, on).double()
    random_tables(attention)
    x = torch.randn(15, 8, dtype=torch.float64, requires_grad=True)
    offsets, at = torch.tensor([0, 4, 14, 15]), torch.randint(0, 9, (15, 2))
    results = []
    for y in (attention(x, offsets, at)[offsets[:-1]], attention.of_class(x, offsets, at)[0]):
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *attention.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@each_form
def test_blocks_of_queries_are_the_whole(method, mode, on, monkeypatch):
    """(exact): the same values and gradients, whatever the size of a block."""
    torch.manual_seed(0)
    attention = PositionalAttention(8, 2, method, mode, on).double()
    random_tables(attention)
    x = torch.randn(14, 8, dtype=torch.float64, requires_grad=True)
    at = torch.randint(0, 9, (14, 2))
    results = []
    for weights in (1 << 20, 2 * 10 * 3):
        monkeypatch.setattr(block_attention, "WEIGHTS", weights)
        y = attention(x, torch.tensor([0, 4, 14]), at)
        grads = torch.autograd.grad(y.square().sum(), [x, *attention.parameters()])
        results.append((y, *grads))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_tables_at_zero_are_plain_attention():
    """The trap: heads made by a reshape mix tokens and channels, which plain attention shows."""
    torch.manual_seed(0)
    attention = PositionalAttention(8, 2, "product", "contextual", "qkv").double()
    x = torch.randn(6, 8, dtype=torch.float64)
    q, k, v = attention.qkv(x).view(6, 3, 2, 4).permute(1, 2, 0, 3)
    heard = (q @ k.transpose(1, 2) / 2).softmax(-1) @ v
    expected = attention.out(heard.transpose(0, 1).reshape(6, 8))
    y = attention(x, torch.tensor([0, 6]), torch.randint(0, 9, (6, 2)))
    torch.testing.assert_close(y, expected)


def test_only_differences_of_positions_count():
    torch.manual_seed(0)
    attention = PositionalAttention(8, 2, "product", "bias", "qk").double()
    random_tables(attention)
    x = torch.randn(6, 8, dtype=torch.float64)
    at, offsets = torch.randint(0, 9, (6, 2)), torch.tensor([0, 6])
    y = attention(x, offsets, at)
    torch.testing.assert_close(attention(x, offsets, at + torch.tensor([30, -7])), y)
    assert (attention(x, offsets, at.flip(1)) - y).abs().max() > 1e-3


def test_options_that_cannot_be_are_sentences():
    with pytest.raises(InputError, match=r"method is 'euc'; it must be product, euclidean"):
        PositionalAttention(8, 2, "euc")
    with pytest.raises(InputError, match=r"mode is 'ctx'; it must be bias, contextual"):
        PositionalAttention(8, 2, mode="ctx")
    with pytest.raises(InputError, match=r"on is 'v'; it must be of q, k and"):
        PositionalAttention(8, 2, on="v")
