"""Which rows are left out of a bag, and what a bag without them is."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from examples import example_bag

from mil.bags import Bag, select
from mil.models import build_model
from mil.robustness.occlusion import kept_rows, zeroed

RATIOS = [round(0.1 * i, 1) for i in range(11)]


def bag_of(rows, name="A", width=3):
    return Bag.single(torch.arange(1.0, rows * width + 1).reshape(rows, width), name)


@pytest.mark.parametrize(
    ("units", "counts"),
    [
        (10, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1]),  # 10 (1 - 0.8) is 1.9999999999999996 in floats
        (7, [7, 6, 5, 4, 4, 3, 2, 2, 1, 1, 1]),
        (1, [1] * 11),
    ],
)
@pytest.mark.parametrize("size", [16, 1])
def test_as_many_regions_stay_as_the_specification_says(units, counts, size):
    for ratio, count in zip(RATIOS, counts, strict=True):
        rows = kept_rows(bag_of(units * size), ratio, size, seed=1, repeat=0)
        assert len(rows) == count * size
        blocks = rows.reshape(-1, size)
        assert (blocks[:, 0] % size == 0).all()
        assert (blocks - blocks[:, :1] == torch.arange(size)).all(), "whole regions"
        assert (rows.diff() > 0).all(), "in their order"


def test_what_is_left_out_stays_left_out_and_each_repeat_chooses_anew():
    bag = bag_of(16 * 40)
    kept = [set(kept_rows(bag, ratio, 16, 1, 0).tolist()) for ratio in RATIOS]
    assert all(fewer <= more for more, fewer in pairwise(kept))
    half = [kept_rows(b, 0.5, 16, seed, repeat).tolist() for b, seed, repeat in
            ((bag, 1, 0), (bag, 1, 1), (bag, 2, 0), (bag_of(16 * 40, "B"), 1, 0))]  # fmt: skip
    assert len({tuple(rows) for rows in half}) == 4
    assert half[0] == kept_rows(bag_of(16 * 40, width=9), 0.5, 16, 1, 0).tolist(), "any features"


def test_every_region_is_left_out_as_often_as_another():
    bag = bag_of(16 * 8)
    counts = np.zeros(8)
    for repeat in range(2000):
        counts[kept_rows(bag, 0.5, 16, 1, repeat)[::16] // 16] += 1
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(500))


def test_zeroed_bags_keep_all_but_the_features():
    bag = example_bag()
    before = bag.features.clone()
    rows = kept_rows(bag, 0.5, 16, 1, 0)
    found = zeroed(bag, rows)
    lost = torch.ones(64, dtype=torch.bool)
    lost[rows] = False
    assert (found.features[lost] == 0).all()
    torch.testing.assert_close(found.features[rows], before[rows], rtol=0, atol=0)
    torch.testing.assert_close(bag.features, before, rtol=0, atol=0)
    for name in ("coords", "cluster", "edge_index", "edge_latent", "offsets", "ids"):
        assert getattr(found, name) is getattr(bag, name)


def test_discarded_bags_are_the_induced_subgraph():
    import networkx

    bag = example_bag()
    rows = kept_rows(bag, 0.5, 16, 1, 0)
    found = select(bag, rows)
    torch.testing.assert_close(found.features, bag.features[rows], rtol=0, atol=0)
    torch.testing.assert_close(found.cluster, bag.cluster[rows])
    torch.testing.assert_close(found.coords, bag.coords[rows])
    assert found.offsets.tolist() == [0, 32]
    for name in ("edge_index", "edge_latent"):
        graph = networkx.MultiDiGraph(getattr(bag, name).T.tolist()).subgraph(rows.tolist())
        expected = sorted(
            (rows.tolist().index(a), rows.tolist().index(b)) for a, b in graph.edges()
        )
        assert sorted(map(tuple, getattr(found, name).T.tolist())) == expected
        assert 0 < len(expected) < bag.edge_index.shape[1]


@pytest.mark.parametrize("change", [zeroed, select])
@pytest.mark.parametrize("model", ["abmil", "deepattnmisl", "esat", "patchgcn"])
def test_nothing_left_out_changes_nothing_and_one_region_is_enough(model, change):
    torch.manual_seed(0)
    network = build_model(model, 24).eval()
    bag = example_bag()
    with torch.no_grad():
        expected = network(bag).vector
        whole = network(change(bag, kept_rows(bag, 0.0, 16, 1, 0))).vector
        least = network(change(bag, kept_rows(bag, 1.0, 16, 1, 0))).vector
    torch.testing.assert_close(whole, expected, rtol=0, atol=0)
    assert torch.isfinite(least).all()
    assert not torch.allclose(least, expected)
