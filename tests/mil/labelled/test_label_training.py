"""Training, prediction, evaluation and comparison of tasks with labels, on a known cohort."""

import numpy as np
import pandas as pd
import pytest
import yaml
from labelled_cohort import LEARN, SMALL, TASKS, label, settings
from synthetic_cohort import run, write_cohort

from mil.labelled.comparison import compare_labels
from mil.labelled.evaluation import evaluate_labels
from mil.labels import read_fold
from mil.problems import InputError
from mil.tasks import FIGURES, task_of
from mil.training.epoch import _drawn


@pytest.fixture(scope="module", params=TASKS)
def trained(request, tmp_path_factory):
    kind = request.param
    root = write_cohort(tmp_path_factory.mktemp(kind), patients=40, patches=12, width=16)
    label(root, kind)
    options = {"task": settings(kind), **SMALL}
    predictions, history = run(root, TASKS[kind][2], options=options, **LEARN)
    return kind, root, predictions, history


def test_labels_are_learnt(trained):
    kind, _, predictions, history = trained
    task = task_of(settings(kind))
    assert f"validation_{task.score}" in history
    assert "validation_c_index" not in history
    best = history.loc[history["chosen"] == 1, f"validation_{task.score}"].item()
    assert best > 0.6
    test = predictions[predictions["part"] == "test"]
    assert len(test) == 10
    assert list(predictions)[:2] == ["patient_id", "part"]
    if task.classes:
        told = test[list(task.told_columns)].to_numpy()
        assert ((told >= 0) & (told <= 1)).all()
        if kind != "several":
            np.testing.assert_allclose(told.sum(1), 1, atol=1e-8)
    else:
        assert np.corrcoef(test["size"], test["predicted"])[0, 1] > 0.8


def test_score_of_the_history_is_that_of_the_predictions(trained):
    """Of the whole validation part, from probabilities: not a mean over batches."""
    kind, _, predictions, history = trained
    task = task_of(settings(kind))
    part = predictions[predictions["part"] == "validation"].reset_index(drop=True)
    (truth,) = task.arrays(task.numbers(part.astype(task.dtypes)))
    told = part[list(task.told_columns)].to_numpy()
    if kind == "regression":
        from sklearn.metrics import r2_score

        found = r2_score(truth, told[:, 0])
    elif kind == "ordinal":
        from sklearn.metrics import cohen_kappa_score

        found = cohen_kappa_score(truth, told.argmax(1), weights="quadratic")
    else:
        from sklearn.metrics import roc_auc_score

        found = roc_auc_score(truth, told if kind == "several" else told[:, 1])
    best = history.loc[history["chosen"] == 1, f"validation_{task.score}"].item()
    assert found == pytest.approx(best, abs=1e-6)


def test_evaluation_and_comparison(trained, tmp_path):
    kind, root, predictions, _ = trained
    task = settings(kind)
    names = FIGURES[task["name"]]
    inputs = {"predictions": [root / "out/predictions.csv"]}
    evaluate_labels(
        name="abmil",
        task=task,
        **inputs,
        draws=[root / "out/draws.npz"],
        histories=[root / "out/history.csv"],
        metrics=tmp_path / "metrics.csv",
        alarms=tmp_path / "alarms.csv",
        figures={name: tmp_path / f"{name}.svg" for name in names},
        training_curves=tmp_path / "training_curves.svg",
        training_curves_csv=tmp_path / "training_curves.csv",
        bootstrap=50,
        seed=1,
    )
    table = pd.read_csv(tmp_path / "metrics.csv", dtype={"fold": str})
    mean = table[table["fold"] == "mean"].set_index("metric")
    score = task_of(task).score
    assert table["metric"].iloc[0] == score
    assert mean.loc[score, "low"] <= mean.loc[score, "value"] <= mean.loc[score, "high"]
    assert mean.loc[score, "n"] == 10
    assert not table[table["fold"] == "mean"]["value"].isna().any()
    assert all((tmp_path / f"{name}.svg").stat().st_size > 3000 for name in names)
    if kind == "classification":
        confusion = pd.read_csv(tmp_path / "confusion.csv")
        assert confusion["n"].sum() == 10
        right = confusion.loc[confusion["truth"] == confusion["predicted"], "n"].sum()
        assert mean.loc["accuracy", "value"] == pytest.approx(right / 10)
    kappas = {"classification": ["cohen_kappa"], "several": ["cohen_kappa"], "ordinal": ["kappa"]}
    assert [name for name in mean.index if "kappa" in name] == kappas.get(kind, [])

    worse = tmp_path / "worse.csv"  # what was predicted, dealt out anew
    random = np.random.default_rng(2)
    shuffled = predictions.copy()
    columns = list(task_of(task).told_columns)
    test = np.flatnonzero(shuffled["part"] == "test")
    shuffled.loc[test, columns] = shuffled.loc[random.permutation(test), columns].to_numpy()
    shuffled.to_csv(worse, index=False)
    outputs = {"comparison": "c.csv", "text": "c.txt", "forest": "f.svg"}
    compare_labels(
        names=["a", "b", "c.seed_1", "c.seed_2"],
        task=task,
        predictions={
            "a": [worse], "b": inputs["predictions"], "c.seed_1": [worse],
            "c.seed_2": inputs["predictions"],
        },
        groups={"a": ["a"], "b": ["b"], "c": ["c.seed_1", "c.seed_2"]},
        **{key: tmp_path / name for key, name in outputs.items()},
        bootstrap=50,
        seed=1,
    )  # fmt: skip
    found = pd.read_csv(tmp_path / "c.csv")
    assert found["experiment"].tolist() == ["b", "c", "c.seed_1", "c.seed_2", "a"]
    rows = found.set_index("experiment")
    assert rows.loc["b", "value"] == pytest.approx(mean.loc[score, "value"])
    assert rows.loc["b", "low"] == pytest.approx(mean.loc[score, "low"])
    assert rows.loc["a", "difference"] == pytest.approx(
        rows.loc["a", "value"] - rows.loc["b", "value"]
    )
    assert rows.loc["a", "difference_low"] <= rows.loc["a", "difference"]
    assert rows.loc["c", "value"] == pytest.approx(
        (rows.loc["a", "value"] + rows.loc["b", "value"]) / 2
    )
    assert max(map(len, (tmp_path / "c.txt").read_text().splitlines())) <= 100


def test_slides_are_bags_and_draws_are_of_patients(tmp_path):
    root = write_cohort(tmp_path, patients=24, patches=8, width=16, slides=2)
    label(root, "classification", "slide")
    task = settings("classification", "slide")
    few = LEARN | {"epochs": 2}
    predictions, _ = run(root, "classes", options={"task": task, **SMALL}, **few)
    assert list(predictions)[:4] == ["slide_id", "patient_id", "part", "grade"]
    assert len(predictions) == 48
    assert predictions.groupby("patient_id")["part"].nunique().max() == 1
    stored = np.load(root / "out/attention.npz")
    tested = predictions.loc[predictions["part"] == "test", "slide_id"]
    assert set(tested) <= set(stored.files)
    assert all(stored[name].sum() == pytest.approx(1, abs=1e-5) for name in tested)

    from mil.labelled.predictions import read_label_predictions, row_counts

    (fold,) = read_label_predictions([root / "out/predictions.csv"], task_of(task))
    (counts,) = row_counts([fold.test], 20, 1)
    patients = np.array(fold.test.patients)
    for name in set(patients):  # both slides of a patient come together
        own = counts[:, patients == name]
        assert (own[:, 0] == own[:, 1]).all()
    assert (counts[:, ::2].sum(1) == len(set(patients))).all()


def test_permuted_labels_are_shuffled_within_parts(trained):
    kind, root, *_ = trained
    task = task_of(settings(kind))
    paths = (root / "fold0.csv", root / "patients.csv", {f"P{i:03d}" for i in range(40)})
    plain = read_fold(*paths, task=task).table
    null = read_fold(*paths, task=task, permute=1, seed=3).table
    first = task.columns[0]
    assert (plain[first] != null[first]).any()
    for part in ("train", "validation", "test"):
        own = [sorted(t.loc[t["part"] == part, first]) for t in (plain, null)]
        assert own[0] == own[1]


def test_balanced_epochs_draw_classes_alike():
    import torch

    task = task_of(settings("classification"))
    table = pd.DataFrame({"patient_id": range(40), "grade": [1.0] * 4 + [0.0] * 36})
    order = torch.Generator().manual_seed(1)
    rows = [row for _ in range(50) for row in _drawn(table, task, True, order)]
    assert len(rows) == 2000
    assert np.mean(np.array(rows) < 4) == pytest.approx(0.5, abs=0.04)
    assert sorted(_drawn(table, task, False, order)) == list(range(40))


def test_what_a_task_cannot_have_is_a_sentence(trained):
    kind, root, *_ = trained
    if kind != "regression":
        return
    options = {"task": settings(kind)}
    with pytest.raises(InputError, match="scored by r2; it must be loss or r2"):
        run(root, "regression", options=options, monitor="auroc")
    with pytest.raises(InputError, match="no classes to be balanced"):
        run(root, "regression", options=options, balanced=True)


def test_the_task_is_stored_with_the_model(trained):
    kind, root, *_ = trained
    made = yaml.safe_load((root / "out/config.yaml").read_text())
    assert made["experiment"]["task"] == settings(kind)
