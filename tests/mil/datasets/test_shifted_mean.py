"""Bags with a run of shifted instances, and their posterior against the literal formula."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score

from mil.datasets import ShiftedMean, shifted_mean
from mil.problems import InputError


def literal_posterior(features, law):
    """Mean over the starts of the product of density ratios, as it stands in the paper."""
    h = features[:, : law.shifted].astype(np.float64)
    ratio = norm.pdf(h, law.mean + law.shift, law.deviation) / norm.pdf(h, law.mean, law.deviation)
    one = ratio.prod(axis=1)
    starts = range(len(h) - law.run + 1)
    odds = np.mean([np.prod(one[u : u + law.run]) for u in starts])
    odds *= law.positive / (1 - law.positive)
    return odds / (1 + odds)


@pytest.mark.parametrize(
    "law",
    [
        ShiftedMean(4),
        ShiftedMean(4, mean=2.0, deviation=0.5, shifted=3, shift=-0.4, run=5, positive=0.2),
        ShiftedMean(4, size=3),  # a single start
    ],
)
def test_posterior_is_the_literal_formula(law):
    for bag in law.draw(20, seed=1):
        expected = literal_posterior(bag.features.numpy(), law)
        assert law.posterior(bag) == pytest.approx(expected, rel=1e-9)


def test_many_features_do_not_underflow():
    law = ShiftedMean(768, shifted=768, shift=1.0)
    bags = law.draw(10, seed=0)
    ratios = [law.log_ratio(bag.features.numpy()) for bag in bags]
    assert np.isfinite(ratios).all()
    np.testing.assert_array_equal(np.array(ratios) > 0, bags.labels.numpy() == 1)


def test_bags_are_of_the_law():
    law = ShiftedMean(6, mean=3.0, deviation=2.0, shifted=2, shift=5.0)
    bags = law.draw(400, seed=3)
    sizes = [len(bag.features) for bag in bags]
    assert (min(sizes), max(sizes)) == (15, 45)
    assert bags.labels.sum() == 200
    rows = np.concatenate([bag.features.numpy() for bag in bags])
    moved = np.concatenate([bag.instance_label.numpy() for bag in bags]) == 1
    assert moved.sum() == 600
    np.testing.assert_allclose(rows[~moved].mean(0), 3, atol=0.1)
    np.testing.assert_allclose(rows.std(0)[2:], 2, atol=0.1)
    np.testing.assert_allclose(rows[moved].mean(0), [8, 8, 3, 3, 3, 3], atol=0.4)
    for bag in bags:
        where = np.flatnonzero(bag.instance_label.numpy())
        assert len(where) in (0, 3)
        assert len(where) == 0 or where[-1] - where[0] == 2  # consecutive


def test_posterior_is_calibrated_and_needs_the_order():
    law = ShiftedMean(1, shift=2.0)
    bags = law.draw(1500, seed=5)
    labels = bags.labels.numpy()
    best = np.array([law.posterior(bag) for bag in bags])
    assert best.mean() == pytest.approx(labels.mean(), abs=0.03)
    assert brier_score_loss(labels, best) == pytest.approx(np.mean(best * (1 - best)), abs=0.015)
    mean = [bag.features.mean() for bag in bags]
    assert roc_auc_score(labels, best) > roc_auc_score(labels, mean) + 0.05


def test_the_paper_and_the_shorthand_agree():
    bags, same = ShiftedMean(5).draw(6, seed=9), shifted_mean(6, 5, seed=9)
    for one, other in zip(bags, same, strict=True):
        assert one.features.equal(other.features)
    assert not shifted_mean(6, 5, seed=8)[0].features.equal(same[0].features)


def test_impossible_laws_are_sentences():
    with pytest.raises(InputError, match="run is 16; it must be from 1 to the smallest size"):
        ShiftedMean(run=16)
    with pytest.raises(InputError, match="shifted is 9; it must be from 1 to the width, 8"):
        ShiftedMean(8, shifted=9)
    with pytest.raises(InputError, match="smallest, largest"):
        replace(ShiftedMean(), size=(5, 3))
