"""Thresholds: from validation parts alone."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mil.labelled.threshold_figure import precision_points, roc_points
from mil.labelled.thresholds import decide, thresholds_of, youden_threshold


def of_two(positive):
    positive = np.asarray(positive, dtype=float)
    return np.stack([1 - positive, positive], 1)


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


def test_decisions_are_by_the_thresholds_of_the_validation_part():
    thresholds = thresholds_of(np.array([0, 0, 1, 1.0]), of_two([0.1, 0.2, 0.3, 0.9]))
    np.testing.assert_array_equal(decide(of_two([0.24, 0.26]), thresholds), [0, 1])


def test_several_labels_have_a_threshold_each_and_many_classes_have_none():
    truth = np.array([[0, 1], [0, 0], [1, np.nan], [1, 1]])
    told = np.array([[0.1, 0.9], [0.2, 0.3], [0.3, 0.0], [0.9, 0.8]])
    thresholds = thresholds_of(truth, told)
    np.testing.assert_allclose(thresholds, [0.25, 0.55])
    np.testing.assert_array_equal(decide(told, thresholds), [[0, 1], [0, 0], [1, 0], [1, 1]])
    three = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    assert len(thresholds_of(np.array([2.0, 0]), three)) == 0
    np.testing.assert_array_equal(decide(three, np.zeros(0)), [2, 0])
    assert len(thresholds_of(np.array([2.0, 0]), np.array([1.5, 0.3]))) == 0, "a number"


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
