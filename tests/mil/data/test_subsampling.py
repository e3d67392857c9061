"""Some instances of each bag."""

import numpy as np
import pytest
import torch
from examples import example_bag

from mil.bags import Bag, BagError, pack, select
from mil.data import grid_instances, random_instances

BOTH = pytest.mark.parametrize("draw", [random_instances, grid_instances])


def grid_bag(side, name):
    row, column = np.divmod(np.arange(side * side), side)
    order = np.random.RandomState(0).permutation(side * side)
    coords = torch.from_numpy(np.stack([column, row], 1)[order] * 512)
    return Bag.single(torch.from_numpy(order[:, None].astype(np.float32)), name, coords=coords)


@BOTH
def test_bags_get_no_more_than_asked_for(draw):
    bags = pack([example_bag(n, 4, seed=n, name=str(n)) for n in (3, 64, 40)])
    some = draw(bags, 20, 0)
    assert some.sizes == [3, 20, 20]
    assert torch.equal(some.features[:3], bags.features[:3])
    whole = {tuple(row) for row in bags.features.tolist()}
    kept = [tuple(row) for row in some.features.tolist()]
    assert set(kept) <= whole
    assert len(set(kept)) == 43


@BOTH
def test_the_draw_depends_on_the_bag_the_seed_and_the_epoch_alone(draw):
    alone = draw(example_bag(64, 4, name="A"), 20, 0, 3)
    beside = draw(pack([example_bag(50, 4, 1, "B"), example_bag(64, 4, name="A")]), 20, 0, 3)
    assert torch.equal(beside.features[20:], alone.features)
    for seed, epoch, same in ((0, 3, True), (1, 3, False), (0, 4, False)):
        other = draw(example_bag(64, 4, name="A"), 20, seed, epoch)
        assert torch.equal(other.features, alone.features) == same


@BOTH
def test_every_instance_has_the_same_odds(draw):
    bag = grid_bag(8, "A")
    seen = torch.cat([draw(bag, 10, 0, epoch).features for epoch in range(500)])
    counts = np.bincount(seen.flatten().long(), minlength=64)
    expected = 500 * 10 / 64
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_of_a_grid_every_part_has_its_share():
    bag = grid_bag(16, "A")
    for epoch in range(20):
        some = grid_instances(bag, 16, 0, epoch)
        parts = (some.coords // (4 * 512) * torch.tensor([4, 1])).sum(1)
        assert sorted(parts.tolist()) == list(range(16))  # one of each 4 x 4 cells


def test_the_graph_is_that_of_the_instances_kept():
    bag = pack([example_bag(12, 4, 0, "A"), example_bag(9, 4, 1, "B")])
    weight = torch.arange(bag.edge_index.shape[1]).float()
    bag = Bag(**{**vars(bag), "edge_weight": weight, "slide": bag.cluster})
    rows = torch.tensor([0, 1, 2, 5, 11, 12, 13, 20])
    some = select(bag, rows)
    assert some.offsets.tolist() == [0, 5, 8]
    assert torch.equal(some.slide, bag.cluster[rows])
    inside = torch.isin(bag.edge_index, rows).all(0)
    assert torch.equal(rows[some.edge_index], bag.edge_index[:, inside])
    assert torch.equal(some.edge_weight, weight[inside])
    assert inside.sum() > 3


def test_a_grid_needs_coordinates():
    with pytest.raises(BagError, match=r"no coordinates, which .* grid_instances"):
        grid_instances(Bag.single(torch.zeros(4, 2), "A"), 2, 0)
