"""Metrics of instances against scikit-learn and against every threshold tried."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from mil.instance_metrics import dice_at, instance_metrics
from mil.problems import InputError


@pytest.fixture
def drawn():
    """Scores with ties, and a fifth of the labels unknown."""
    random = np.random.default_rng(0)
    labels = random.choice([-1, 0, 1], 300, p=[0.2, 0.6, 0.2])
    return (random.normal(size=300) + labels).round(1), labels


def test_values_of_scikit_learn(drawn):
    scores, labels = drawn
    found, told = instance_metrics(scores, labels), labels >= 0
    truth, score = labels[told], scores[told]
    assert found.auroc == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
    expected = average_precision_score(truth, score)
    assert found.average_precision == pytest.approx(expected, rel=1e-12)
    each = {t: f1_score(truth, score >= t) for t in np.unique(score)}  # Dice by another name
    assert found.dice == pytest.approx(max(each.values()), rel=1e-12)
    assert each[found.threshold] == found.dice
    assert (found.positives, found.n) == ((labels == 1).sum(), told.sum())
    assert dice_at(0.3, scores, labels) == pytest.approx(f1_score(truth, score >= 0.3))
    assert dice_at(found.threshold, scores, labels) == found.dice


def test_unknown_instances_do_not_count(drawn):
    scores, labels = drawn
    moved = np.where(labels < 0, np.nan, scores)
    assert instance_metrics(moved, labels) == instance_metrics(scores, labels)


def test_without_both_kinds_there_is_nothing_to_tell():
    for label in (0, 1):
        found = instance_metrics([0.1, 0.2], [label, label])
        assert np.isnan([found.auroc, found.average_precision, found.dice, found.threshold]).all()
        assert (found.positives, found.n) == (2 * label, 2)
    assert np.isnan(dice_at(0.5, [0.1, 0.2], [0, 0]))


def test_mistakes_are_sentences():
    with pytest.raises(InputError, match=r"scores are \[2\] and labels \[3\]; both must be \[N\]"):
        instance_metrics([0.1, 0.2], [0, 1, 1])
    with pytest.raises(InputError, match="a label is 2; it must be 1, 0, or -1"):
        instance_metrics([0.1, 0.2], [0, 2])
    with pytest.raises(InputError, match="1 scores are NaN"):
        instance_metrics([0.1, np.nan], [0, 1])
