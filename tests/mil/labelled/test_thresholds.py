"""Thresholds: from validation parts alone."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mil.labelled.predictions import Part
from mil.labelled.threshold_figure import precision_points, roc_points
from mil.labelled.thresholds import decide, youden_threshold


def part(truth, positive):
    positive = np.asarray(positive, dtype=float)
    names = tuple(f"P{i}" for i in range(len(positive)))
    told = np.stack([1 - positive, positive], 1)
    return Part(names, names, np.asarray(truth, dtype=float), told)


def test_the_threshold_is_halfway_between_what_it_divides():
    assert youden_threshold(np.array([0, 0, 1, 1.0]), np.array([0.1, 0.2, 0.3, 0.9])) == 0.25
    assert youden_threshold(np.array([0, 1.0]), np.array([0.2, 0.6])) == pytest.approx(0.4)


def test_of_equally_good_ones_it_is_the_nearest_to_one_half():
    truth, score = np.array([0, 1, 0, 1.0]), np.array([0.1, 0.3, 0.6, 0.9])
    assert youden_threshold(truth, score) == pytest.approx(0.75)  # 0.2 divides as well


def test_without_both_classes_it_is_one_half():
    assert youden_threshold(np.ones(3), np.array([0.7, 0.8, 0.9])) == 0.5
    assert youden_threshold(np.array([np.nan, 1.0]), np.array([0.1, 0.9])) == 0.5


def test_it_has_the_highest_sensitivity_and_specificity():
    random = np.random.default_rng(1)
    truth, score = random.integers(0, 2, 60).astype(float), random.random(60)
    threshold = youden_threshold(truth, score)
    above = score >= threshold
    gain = above[truth == 1].mean() - above[truth == 0].mean()
    false, true, _ = roc_curve(truth, score)
    assert gain == pytest.approx((true - false).max())


def test_decisions_do_not_look_at_the_truth_of_the_test_part():
    validation = part([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9])
    for truth in ([0, 1], [1, 0]):
        decided = decide(validation, part(truth, [0.24, 0.26]))
        np.testing.assert_array_equal(decided, [0, 1])


def test_curves_are_scikit_learns():
    random = np.random.default_rng(2)
    truth, score = random.integers(0, 2, 50).astype(bool), random.random(50).round(1)
    x, y = roc_points(truth, score)
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(x, false)
    np.testing.assert_allclose(y, true)
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(truth, score)
    own_recall, own_precision = precision_points(truth, score)
    np.testing.assert_allclose(own_recall[::-1], recall[:-1])
    np.testing.assert_allclose(own_precision[::-1], precision[:-1])
