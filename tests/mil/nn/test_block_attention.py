"""Attention with dropped weights, in blocks, and recomputation."""

import torch

from mil.nn import block_attention, recompute
from mil.nn.block_attention import dropout_attention, in_blocks
from mil.nn.dropout import dropped
from mil.nn.recompute import recomputed


def test_blocks_cover_all_queries_and_stay_within_bounds(monkeypatch):
    monkeypatch.setattr(block_attention, "WEIGHTS", 60)
    seen = []

    def step(start, end):
        seen.append((start, end))
        return torch.arange(start, end, dtype=torch.float32).view(1, -1, 1)

    y = in_blocks(step, queries=11, keys=10, heads=2)
    assert y.flatten().tolist() == list(range(11))
    assert seen == [(0, 3), (3, 6), (6, 9), (9, 11)]


def test_dropped_weights_are_those_of_the_formula():
    """Without dropout the fused kernel; with it the same numbers in blocks."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 7, 4, dtype=torch.float64)
    weights = (q @ k.transpose(1, 2) * 0.3).softmax(-1)
    torch.testing.assert_close(dropout_attention(q, k, v, 0.3, 0.0), weights @ v)
    torch.manual_seed(1)
    expected = dropped(weights, 0.5) @ v
    torch.manual_seed(1)
    torch.testing.assert_close(dropout_attention(q, k, v, 0.3, 0.5), expected)


def test_dropout_is_the_same_in_the_backward_pass(monkeypatch):
    """The gradient by v is what came out of ones: of the very mask of the forward pass."""
    monkeypatch.setattr(block_attention, "WEIGHTS", 28)
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 7, 4)
    v = torch.randn(2, 7, 4, requires_grad=True)
    y = dropout_attention(q, k, v, 0.5, 0.5)
    (slope,) = torch.autograd.grad((y * v.detach()).sum(), v)
    torch.testing.assert_close((slope * v).sum(), (y * v).sum())


def test_a_wide_step_is_computed_again_earlier(monkeypatch):
    monkeypatch.setattr(recompute, "LARGE", 10)
    runs = []

    def step(x, factor):
        runs.append(len(x))
        return x * factor

    x = torch.ones(4, 2, requires_grad=True)
    for wide, expected in ((1, 1), (2, 1), (3, 2)):
        runs.clear()
        recomputed(step, x, torch.ones(1, requires_grad=True), wide=wide).sum().backward()
        assert len(runs) == expected
