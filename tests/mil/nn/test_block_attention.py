"""Attention with dropped weights, in blocks, and recomputation."""

import pytest
import torch

from mil.nn import block_attention, recompute
from mil.nn.block_attention import dropout_attention, in_blocks
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
    seen = dropout_attention(q, k, torch.eye(7).double().expand(2, 7, 7), 0.3, 0.5)
    dropped = seen == 0
    assert 5 < dropped.sum() < 93  # of 98
    torch.testing.assert_close(seen, torch.where(dropped, 0, weights / 0.5))
    torch.manual_seed(1)
    torch.testing.assert_close(dropout_attention(q, k, v, 0.3, 0.5), seen @ v)


@pytest.mark.parametrize("weights", [28, 1 << 24], ids=["blocks of two queries", "one block"])
def test_gradients_are_those_of_the_same_mask(weights, monkeypatch):
    monkeypatch.setattr(block_attention, "WEIGHTS", weights)
    torch.manual_seed(0)
    qkv = [torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def with_one_mask(*qkv):
        torch.manual_seed(1)
        return dropout_attention(*qkv, 0.5, 0.3)

    assert torch.autograd.gradcheck(with_one_mask, qkv)


def test_the_share_of_dropped_weights():
    torch.manual_seed(0)
    q, k = torch.zeros(2, 2, 100, 4)
    seen = dropout_attention(q, k, torch.eye(100).expand(2, 100, 100), 1.0, 0.1)
    share = (seen == 0).double().mean().item()
    assert share == pytest.approx(0.1, abs=4 * (0.09 / seen.numel()) ** 0.5)
    assert not torch.equal(seen[0] == 0, seen[1] == 0)


def test_half_precision_comes_back_as_it_was():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 7, 4)
    torch.manual_seed(1)
    expected = dropout_attention(q, k, v, 0.5, 0.3)
    torch.manual_seed(1)
    half = dropout_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), 0.5, 0.3)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.05)


def test_a_large_step_is_computed_again(monkeypatch):
    monkeypatch.setattr(recompute, "LARGE", 4)
    runs = []

    def step(x, factor):
        runs.append(len(x))
        return x * factor

    for rows, expected in ((4, 1), (5, 2)):
        runs.clear()
        x = torch.ones(rows, 2, requires_grad=True)
        recomputed(step, x, torch.ones(1, requires_grad=True)).sum().backward()
        assert len(runs) == expected


def test_a_wide_step_on_rows_goes_in_runs_of_fewer(monkeypatch):
    monkeypatch.setattr(recompute, "LARGE", 10)
    monkeypatch.setattr(recompute, "RUN", 9)
    runs, factor = [], torch.tensor(2.0, requires_grad=True)

    def step(x, other):
        runs.append(len(x))
        return x.exp() * other * factor

    torch.manual_seed(0)
    x, other = torch.randn(7, 2, requires_grad=True), torch.randn(7, 2)
    y = step(x, other)
    whole = [y, *torch.autograd.grad(y.square().sum(), (x, factor))]
    for wide, expected in ((1, [7]), (3, [3, 3, 1] * 2)):
        runs.clear()
        y = recompute.recomputed_rows(step, x, other, wide=wide)
        found = [y, *torch.autograd.grad(y.square().sum(), (x, factor))]
        assert sorted(runs) == sorted(expected)
        for ours, literal in zip(found, whole, strict=True):
            torch.testing.assert_close(ours, literal)
