"""The study of the classical sets, shrunk; what it found is in studies/tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from studies import classical_mil as study

TABLE = Path(__file__).parents[2] / "studies/tables/classical_mil.csv"


@pytest.fixture
def data(tmp_path):
    """A small set: a bag is positive if its instances lie apart from those of others."""
    random = np.random.default_rng(0)
    lines = []
    for bag in range(30):
        for _ in range(random.integers(1, 5)):
            x = random.standard_normal(4) + 6 * (bag % 2)
            lines.append(",".join(map(str, [bag % 2, bag, *x])))
    (tmp_path / "musk1.csv").write_text("\n".join(lines))
    return tmp_path


def test_rows_accumulate_and_are_the_same_again(data, tmp_path):
    table = tmp_path / "table.csv"
    shared = {"sets": ["musk1"], "repeats": 1, "training": {**study.TRAINING, "epochs": 3}}
    study.run(data, table, ["mean"], **shared)
    study.run(data, table, ["abmil"], **shared)
    first = table.read_bytes()
    found = pd.read_csv(table).set_index("model")
    assert list(found.index) == ["abmil", "mean"]
    assert (found["accuracy"] > 0.9).all()
    assert found.loc["abmil", "published"] == 0.892
    assert np.isnan(found.loc["mean", "published"])
    study.run(data, table, ["abmil"], **shared)
    assert table.read_bytes() == first


def test_folds_have_their_share_of_both_classes():
    labels = np.repeat([0, 1], [45, 47])
    fold = study.deal(labels, 10, np.random.default_rng(0))
    for c in (0, 1):
        assert set(np.bincount(fold[labels == c])) <= {4, 5}
    assert set(np.bincount(fold)) <= {9, 10}
    assert (fold != study.deal(labels, 10, np.random.default_rng(1))).any()


def test_accuracy_and_interval():
    labels = np.array([0, 1] * 20)
    probability = np.tile(np.where(labels == 1, 0.9, 0.1), (3, 1))
    probability[0, :4] = 0.6  # two of them wrong, in one of three repeats
    told = dict(zip(study.HEADER, study.row("musk1", "mean", probability, labels), strict=True))
    assert told["accuracy"] == pytest.approx(1 - 2 / 120)
    assert told["error"] == pytest.approx(np.std([0.95, 1, 1], ddof=1) / np.sqrt(3))
    assert 0.95 < told["low"] < told["accuracy"] < told["high"] <= 1
    random = np.random.default_rng(0)
    score, truth = random.integers(5, size=50), random.integers(2, size=50)
    assert study.rank_auc(score, truth) == pytest.approx(roc_auc_score(truth, score))


def test_the_table_is_at_the_published_accuracy():
    """Attention on the classical sets is as good as published, within both errors."""
    found = pd.read_csv(TABLE).dropna(subset="published")
    assert set(found["set"]) == {"musk1", "elephant"}
    assert (found["high"] > found["published"] - found["published_error"]).all()
    assert (found["low"] < found["published"] + found["published_error"]).all()
