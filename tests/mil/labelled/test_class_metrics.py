"""Metrics of classes and numbers against scikit-learn, with bootstrap counts as sample weights."""

from functools import partial

import numpy as np
import pytest
from sklearn import metrics as sk

from mil.labelled import class_metrics as ours
from mil.labelled import number_metrics

N = 40


@pytest.fixture
def random():
    return np.random.default_rng(3)


def draws(random):
    return np.vstack([np.ones(N), random.multinomial(N, np.full(N, 1 / N), size=6)]).astype(float)


def probabilities(random, classes):
    raw = random.random((N, classes)).round(1) + 0.05  # with ties
    return raw / raw.sum(1, keepdims=True)


def each(counts, metric):
    return [metric(c) for c in counts]


def test_binary_auroc_and_average_precision(random):
    truth, counts = random.integers(0, 2, N), draws(random)
    p = probabilities(random, 2)
    for mine, theirs in (
        (ours.auroc, sk.roc_auc_score),
        (ours.average_precision, sk.average_precision_score),
        (ours.brier, sk.brier_score_loss),
    ):
        expected = each(counts, lambda c, f=theirs: f(truth, p[:, 1], sample_weight=c))
        np.testing.assert_allclose(mine(truth, p, counts), expected, rtol=1e-10)


def test_macro_over_classes_and_labels(random):
    truth, counts = random.integers(0, 3, N), draws(random)
    p = probabilities(random, 3)
    expected = each(
        counts,
        lambda c: sk.roc_auc_score(truth, p, multi_class="ovr", average="macro", sample_weight=c),
    )
    np.testing.assert_allclose(ours.auroc(truth, p, counts), expected, rtol=1e-10)
    labels, p = random.integers(0, 2, (N, 3)), random.random((N, 3))
    for mine, theirs in (
        (ours.auroc, sk.roc_auc_score),
        (ours.average_precision, sk.average_precision_score),
    ):
        expected = each(counts, lambda c, f=theirs: f(labels, p, sample_weight=c))
        np.testing.assert_allclose(mine(labels, p, counts), expected, rtol=1e-10)


def test_unknown_labels_do_not_count(random):
    labels, p = random.integers(0, 2, (N, 2)).astype(float), random.random((N, 2))
    labels[:10, 1] = np.nan
    ones = np.ones((1, N))
    expected = (
        sk.roc_auc_score(labels[:, 0], p[:, 0]) + sk.roc_auc_score(labels[10:, 1], p[10:, 1])
    ) / 2
    assert ours.auroc(labels, p, ones)[0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_of_predicted_classes(random, classes):
    truth, counts = random.integers(0, classes, N), draws(random)
    predicted = np.where(random.random(N) < 0.6, truth, random.integers(0, classes, N))
    average = "binary" if classes == 2 else "macro"
    for mine, theirs in (
        (ours.accuracy, sk.accuracy_score),
        (ours.balanced_accuracy, sk.balanced_accuracy_score),
        (ours.f1, lambda *a, **k: sk.f1_score(*a, average=average, **k)),
        (ours.kappa, lambda *a, **k: sk.cohen_kappa_score(*a, weights="quadratic", **k)),
        (partial(ours.kappa, quadratic=False), sk.cohen_kappa_score),
    ):
        expected = each(counts, lambda c, f=theirs: f(truth, predicted, sample_weight=c))
        np.testing.assert_allclose(mine(truth, predicted, counts, classes), expected, rtol=1e-10)
    table = ours.confusion(truth, predicted, counts[:1], classes)[0]
    np.testing.assert_array_equal(table, sk.confusion_matrix(truth, predicted))


def test_brier_of_classes_is_the_sum_over_them(random):
    truth, p = random.integers(0, 3, N), probabilities(random, 3)
    expected = ((p - np.eye(3)[truth]) ** 2).sum(1).mean()
    assert ours.brier(truth, p, np.ones((1, N)))[0] == pytest.approx(expected)


def test_undefined_is_nan_and_not_a_number():
    p = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert np.isnan(ours.auroc([1, 1], p, np.ones((1, 2))))
    assert np.isnan(ours.balanced_accuracy([1, 1], [1, 0], np.ones((1, 2)), 2))
    one_gone = np.array([[1.0, 1.0], [2.0, 0.0]])
    assert np.isnan(ours.auroc([1, 0], p, one_gone)).tolist() == [False, True]


def test_a_ranked_set_with_logits_between_0_and_1_has_auroc_1():
    """The trap of raw logits given batch by batch: probabilities of the whole part, once."""
    logits = np.array([0.1, 0.2, 0.3, 0.4])
    p = 1 / (1 + np.exp(-logits))
    found = ours.auroc([0, 0, 1, 1], np.stack([1 - p, p], 1), np.ones((1, 4)))[0]
    assert found == 1


def test_calibration_error_by_hand():
    # two bins: 0.3, 0.35 (one of two happens), 0.9 (it happens)
    p = np.array([0.3, 0.35, 0.9])
    found = ours.calibration_error([0, 1, 1], np.stack([1 - p, p], 1), np.ones((1, 3)))[0]
    assert found == pytest.approx((abs(0.65 - 1) + abs(0.9 - 1)) / 3)
    of_predicted = ours.calibration_error([0, 2], np.array([[0.7, 0.2, 0.1]] * 2), np.ones((1, 2)))
    assert of_predicted[0] == pytest.approx(abs(1.4 - 1) / 2)


def test_numbers(random):
    truth, counts = random.normal(50, 10, N), draws(random)
    predicted = truth + random.normal(0, 5, N)
    for mine, theirs in (
        (number_metrics.mean_absolute_error, sk.mean_absolute_error),
        (number_metrics.root_mean_squared_error, sk.root_mean_squared_error),
        (number_metrics.r_squared, sk.r2_score),
    ):
        expected = each(counts, lambda c, f=theirs: f(truth, predicted, sample_weight=c))
        np.testing.assert_allclose(mine(truth, predicted, counts), expected, rtol=1e-9)
    expected = [np.corrcoef(np.repeat([truth, predicted], c.astype(int), axis=1))[0, 1]
                for c in counts]  # fmt: skip
    found = number_metrics.correlation(truth, predicted, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.isnan(number_metrics.r_squared(np.ones(3), np.arange(3), np.ones((1, 3))))
