"""Self-attention and the transformer made of it against the formulas, written out."""

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from mil.nn.attention_encoder import AttentionEncoder, EncoderLayer
from mil.nn.self_attention import SelfAttention
from mil.problems import InputError


def literal(attention, x):
    """Every head of one bag with its matrix of weights."""
    heads, width = attention.heads, attention.qkv.out_features // 3
    q, k, v = (
        (x @ w.T).view(len(x), heads, width // heads).transpose(0, 1)
        for w in attention.qkv.weight.chunk(3)
    )
    weights = (q @ k.transpose(1, 2) / (width // heads) ** 0.5).softmax(-1)  # [h, n, n]
    return (weights @ v).transpose(0, 1).reshape(len(x), width)


def packed(sizes=(5, 1, 9), width=6):
    torch.manual_seed(0)
    x = torch.randn(sum(sizes), width, dtype=torch.float64)
    return x, torch.tensor([0, *torch.tensor(sizes).cumsum(0)])


@pytest.mark.parametrize("project", [True, False])
def test_attention_is_the_formula_bag_by_bag(project):
    attention = SelfAttention(6, 8, 4, project).double()
    x, offsets = packed()
    expected = torch.cat([literal(attention, one) for one in x.split([5, 1, 9])])
    torch.testing.assert_close(attention(x, offsets), attention.out(expected))
    doubled = attention(x, offsets, smooth=lambda merged: 2 * merged)
    torch.testing.assert_close(doubled, attention.out(2 * expected))


@pytest.mark.parametrize("width", [6, 8])
def test_layer_is_the_formula(width):
    layer = EncoderLayer(width, 8, 2).double()
    x, offsets = packed(width=width)
    u = layer.enter(x) + layer.attention(layer_norm(x, (width,)), offsets)
    first, second = layer.mlp[1], layer.mlp[4]
    y = u + second(gelu(first(layer_norm(u, (8,)))))
    assert (first.out_features, isinstance(layer.enter, torch.nn.Linear)) == (32, width != 8)
    torch.testing.assert_close(layer(x, offsets), layer.leave(y))
    without = EncoderLayer(width, 8, 2, mlp=False).double()
    u = without.enter(x) + without.attention(layer_norm(x, (width,)), offsets)
    torch.testing.assert_close(without(x, offsets), without.leave(u))


@pytest.mark.parametrize("add_self", [True, False])
def test_encoder_adds_its_input_to_what_comes_of_every_layer(add_self):
    encoder = AttentionEncoder(6, 8, 2, layers=2, add_self=add_self).double()
    x, offsets = packed()
    y = x
    for layer in encoder.layers:
        y = layer(y, offsets) + (x if add_self else 0)
    torch.testing.assert_close(encoder(x, offsets), layer_norm(y, (6,)))


def test_every_layer_has_its_smoothing():
    encoder = AttentionEncoder(6, 8, 2, layers=2).double()
    x, offsets = packed()
    seen = []
    smooth = [lambda u, k=k: seen.append((k, u.shape)) or u for k in range(2)]
    torch.testing.assert_close(encoder(x, offsets, smooth), encoder(x, offsets))
    assert seen == [(0, (15, 8)), (1, (15, 8))]


def test_heads_that_do_not_divide_the_width_are_a_sentence():
    with pytest.raises(InputError, match=r"width 20 must be a multiple of the heads, 8"):
        SelfAttention(6, 20, 8)
