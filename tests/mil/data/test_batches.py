"""Which bags go together, and how often each is seen."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mil.data import LengthBuckets, class_balanced, collate
from mil.datasets import single_concept
from mil.problems import InputError

SIZES = np.random.RandomState(0).randint(1, 2000, 1003)


def test_every_bag_once_an_epoch_in_another_order_each_time():
    buckets = LengthBuckets(SIZES, 4, seed=1)
    first, second = list(buckets), list(buckets)
    assert len(first) == len(buckets) == 251
    for epoch in (first, second):
        assert sorted(number for batch in epoch for number in batch) == list(range(1003))
        assert sorted(map(len, epoch)) == [3] + [4] * 250
    assert first != second
    again = LengthBuckets(SIZES, 4, seed=1)
    again.epoch = 1
    assert list(again) == second


def test_buckets_save_most_of_the_padding():
    def padding(batches):
        return sum(SIZES[b].max() * len(b) - SIZES[b].sum() for b in batches) / SIZES.sum()

    in_order = np.array_split(np.arange(1003), 251)
    assert padding(in_order) > 0.5
    assert padding(LengthBuckets(SIZES, 4)) < 0.05


def test_batches_of_a_data_set():
    bags = single_concept(40)
    loader = DataLoader(
        bags, batch_sampler=LengthBuckets([len(b.features) for b in bags], 8), collate_fn=collate
    )
    names = [name for batch in loader for name in batch["name"]]
    assert sorted(names) == sorted(bags.names)


def test_classes_are_drawn_alike():
    labels = torch.tensor([0] * 900 + [2] * 90 + [-1] * 10)
    sampler = class_balanced(labels, seed=3, count=4000)
    first, second = list(sampler), list(sampler)
    share = torch.bincount(labels[first] + 1, minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor([0, 0.5, 0, 0.5]), atol=0.03, rtol=0)
    assert first != second
    assert list(class_balanced(labels, seed=3, count=4000)) == first
    with pytest.raises(InputError, match="one known at least"):
        class_balanced(torch.full((4,), -1))
