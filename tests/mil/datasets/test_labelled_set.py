"""Bags drawn from the samples of a labelled set."""

import numpy as np
import pytest

from mil.datasets import bags_of_samples
from mil.problems import InputError

CLASSES = np.repeat(np.arange(10), 30)
SAMPLES = np.stack([np.arange(300), CLASSES], 1)  # each tells its number and its class


def test_labels_follow_the_classes():
    bags = bags_of_samples(SAMPLES, CLASSES, {8, 9}, 200, size=(4, 20), positive=0.4, seed=1)
    assert bags.labels.sum() == 80
    for bag, label in zip(bags, bags.labels, strict=True):
        positive = np.isin(bag.features[:, 1], [8, 9])
        size = len(bag.features)
        assert 4 <= size <= 20
        np.testing.assert_array_equal(bag.instance_label, positive)
        assert (1 <= positive.sum() <= max(size // 2 - 1, 1)) if label else positive.sum() == 0


def test_samples_are_used_in_turn():
    bags = bags_of_samples(SAMPLES, CLASSES, {9}, 300, size=12, seed=1)
    used = np.bincount(np.concatenate([bag.features[:, 0] for bag in bags]).astype(int))
    for kind in (used[:270], used[270:]):
        assert kind.max() - kind.min() <= 1


def test_order_says_nothing_of_the_labels():
    """torchmil sorts instances by label, which a model that sees the order can use."""
    bags = bags_of_samples(SAMPLES, CLASSES, {9}, 600, size=9, positive=1.0, seed=2)
    share = np.mean([bag.instance_label.numpy() for bag in bags], axis=0)
    np.testing.assert_allclose(share, share.mean(), atol=0.08)


def test_images_keep_their_shape_and_the_seed_decides():
    images = np.random.RandomState(0).rand(300, 1, 5, 5)
    first, same, other = (bags_of_samples(images, CLASSES, {1}, 3, seed=s) for s in (0, 0, 1))
    assert first[0].features.shape == (10, 1, 5, 5)
    assert first[0].features.equal(same[0].features)
    assert not first[0].features.equal(other[0].features)


def test_mistakes_are_sentences():
    with pytest.raises(InputError, match="300 samples, but 5 classes"):
        bags_of_samples(SAMPLES, CLASSES[:5], {1})
    with pytest.raises(InputError, match="there must be samples of both kinds"):
        bags_of_samples(SAMPLES, CLASSES, {11})
