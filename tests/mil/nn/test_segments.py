"""Sums, ranks and softmaxes over packed bags, against loops over the bags."""

from itertools import pairwise

import pytest
import torch

from mil.nn.attention import AttentionPool
from mil.nn.segments import (
    bag_softmax,
    segment_argmax,
    segment_ids,
    segment_max,
    segment_pool,
    segment_rank,
    segment_softmax,
    segment_sum,
    weighted_sum,
)

OFFSETS = torch.tensor([0, 1, 5, 12])


@pytest.fixture
def values():
    return torch.randn(12, 3, dtype=torch.float64, generator=torch.manual_seed(0)).round(decimals=1)


def bags(x):
    return x.split(OFFSETS.diff().tolist())


def test_rank_counts_who_comes_before(values):
    values[3] = values[2]  # of equals the first row comes first
    found = bags(segment_rank(values, OFFSETS))
    for rank, bag in zip(found, bags(values), strict=True):
        for n, row in enumerate(bag):
            before = (bag > row).sum(0) + (bag[:n] == row).sum(0)
            assert rank[n].tolist() == before.tolist()


def test_argmax_is_the_first_of_the_highest_rows(values):
    values[7:10] = values[5:].amax(0)
    found = segment_argmax(values, OFFSETS)
    for b, (start, bag) in enumerate(zip(OFFSETS, bags(values), strict=False)):
        assert found[b].tolist() == (bag.argmax(0) + start).tolist()
    assert found[2].tolist() == segment_argmax(values[5:], torch.tensor([0, 7]))[0].add(5).tolist()


def test_argmax_of_undefined_values_is_a_row():
    undefined = torch.full((4, 2), torch.nan)
    assert segment_argmax(undefined, torch.tensor([0, 2, 4])).max() < 4


def test_several_weights_are_several_sums(values):
    weights = torch.rand(12, 2, dtype=torch.float64, generator=torch.manual_seed(1))
    found = segment_pool(weights, values, OFFSETS)
    for z, w, x in zip(found, bags(weights), bags(values), strict=True):
        torch.testing.assert_close(z, w.T @ x)


def test_a_branch_of_attention_is_an_attention_of_its_own(values):
    """Branches share V and U; each has a vector, a softmax and a sum of its own."""
    pool = AttentionPool(3, 4, branches=2).double()
    z, scores = pool(values, OFFSETS)
    for c in range(2):
        single = AttentionPool(3, 4).double()
        single.direction, single.gate = pool.direction, pool.gate
        single.score.weight.data = pool.score.weight[c : c + 1].detach()
        single.score.bias.data = pool.score.bias[c : c + 1].detach()
        pooled, raw = single(values, OFFSETS)
        torch.testing.assert_close(scores[:, c], raw)
        torch.testing.assert_close(z[:, c], pooled)
    total = segment_sum(bag_softmax(scores, OFFSETS), OFFSETS)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [[400], [3, 0, 130, 1, 200]], ids=["one bag", "five"])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_weighted_sum_and_its_gradients_are_those_of_the_literal_form(sizes, ordered, kind):
    random = torch.Generator().manual_seed(0)
    offsets = torch.tensor([0, *torch.tensor(sizes).cumsum(0)])
    weights = torch.rand(sum(sizes), generator=random, requires_grad=True)
    values = torch.randn(sum(sizes), 24, generator=random).to(kind).requires_grad_()
    slopes = torch.randn(len(sizes), 24, generator=random)
    order = torch.randperm(sum(sizes), generator=random) if ordered else None
    seen = []
    for found in (
        weighted_sum(weights, values, offsets, order),
        segment_sum(weights.unsqueeze(1) * (values[order] if ordered else values), offsets),
    ):
        seen.append([found, *torch.autograd.grad((found * slopes).sum(), (weights, values))])
    for ours, literal in zip(*seen, strict=True):
        room = 1e-2 if literal.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(ours, literal, rtol=room, atol=room)


@pytest.mark.parametrize("width", [1, 3, 24, 129, 512])
def test_a_weighted_sum_has_the_same_bits_alone_and_packed(width):
    """At whatever place in memory; gradients, too, unless rows begin at odd places (129)."""
    random = torch.Generator().manual_seed(0)
    sizes = [3, 130, 1, 1001, 17, 64]
    weights = torch.rand(sum(sizes), generator=random, requires_grad=True)
    values = torch.randn(sum(sizes), width, generator=random, requires_grad=True)
    slopes = torch.randn(len(sizes), width, generator=random)
    offsets = torch.tensor([0, *torch.tensor(sizes).cumsum(0)])
    packed = weighted_sum(weights, values, offsets)
    of_packed = torch.autograd.grad((packed * slopes).sum(), (weights, values))
    for b, (start, end) in enumerate(pairwise(offsets.tolist())):
        w, v = (x[start:end].detach().clone().requires_grad_() for x in (weights, values))
        alone = weighted_sum(w, v, torch.tensor([0, end - start]))
        assert torch.equal(alone[0], packed[b])
        of_alone = torch.autograd.grad((alone * slopes[b]).sum(), (w, v))
        for one, all_ in zip(of_alone, of_packed, strict=True):
            room = 1e-4 if width == 129 else 0
            torch.testing.assert_close(one, all_[start:end], rtol=room, atol=room)


@pytest.mark.parametrize("columns", [(), (3,)], ids=["one", "three"])
@pytest.mark.parametrize("sizes", [[400], [3, 130, 1, 200]], ids=["one bag", "four"])
def test_softmax_and_its_gradient_have_the_bits_of_the_literal_form(sizes, columns):
    random = torch.Generator().manual_seed(0)
    offsets = torch.tensor([0, *torch.tensor(sizes).cumsum(0)])
    scores = (9 * torch.randn(sum(sizes), *columns, generator=random)).requires_grad_()
    slopes = torch.randn(scores.shape, generator=random)
    rows = segment_ids(offsets)
    powers = (scores - segment_max(scores.detach(), offsets)[rows]).exp()
    literal = powers / segment_sum(powers, offsets)[rows]
    found = segment_softmax(scores, offsets)
    assert torch.equal(found, literal)
    ours, expected = (torch.autograd.grad(one, scores, slopes)[0] for one in (found, literal))
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("columns", [(), (3,)], ids=["one", "three"])
def test_a_bag_has_the_softmax_that_it_has_alone(columns):
    """To the bit, gradient too; to rounding it is the literal form. An empty bag has none."""
    random = torch.Generator().manual_seed(0)
    sizes = [3, 0, 130, 1, 200]
    offsets = torch.tensor([0, *torch.tensor(sizes).cumsum(0)])
    scores = (9 * torch.randn(sum(sizes), *columns, generator=random)).requires_grad_()
    slopes = torch.randn(scores.shape, generator=random)
    found = bag_softmax(scores, offsets)
    (slope,) = torch.autograd.grad(found, scores, slopes)
    literal = segment_softmax(scores, offsets)
    torch.testing.assert_close(found, literal)
    torch.testing.assert_close(slope, torch.autograd.grad(literal, scores, slopes)[0])
    for start, end in pairwise(offsets.tolist()):
        bag = scores[start:end].detach().requires_grad_()
        alone = bag_softmax(bag, torch.tensor([0, end - start]))
        assert torch.equal(alone, found[start:end])
        assert torch.equal(torch.autograd.grad(alone, bag, slopes[start:end])[0], slope[start:end])


def test_the_softmax_of_half_precision_is_single():
    scores = torch.randn(6).half()
    assert bag_softmax(scores, torch.tensor([0, 6])).equal(scores.float().softmax(0))
