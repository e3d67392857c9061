"""Damaged patients where labels are predicted: what is written, and the curves of it."""

import numpy as np
import pandas as pd
import pytest
from labelled_cohort import LEARN, SMALL, TASKS, label, settings
from sklearn.metrics import r2_score, roc_auc_score
from synthetic_cohort import run, write_cohort

from mil.fold_predictions import PredictionError
from mil.labelled.metrics import metric_rows
from mil.labelled.predictions import read_label_predictions, row_counts
from mil.report.robustness_tables import curves
from mil.robustness.curves import draw_robustness
from mil.robustness.predict import predict_occluded, predict_perturbed
from mil.tasks import task_of

FOLDS, SIZE, DRAWS, SEED = 2, 30, 40, 3
CURVE, LEVELS, REPEATS = "occlusion-discard", ["0.5", "1"], 3


@pytest.mark.parametrize(("kind", "unit"), [("classification", "slide"), ("regression", "patient")])
def test_at_ratio_nothing_what_is_predicted_is_the_ordinary_prediction(kind, unit, tmp_path):
    slides = 2 if unit == "slide" else 1
    root = write_cohort(tmp_path, patients=16, patches=16, width=8, slides=slides)
    label(root, kind, unit)
    options = {"task": settings(kind, unit), **SMALL}
    whole, _ = run(root, TASKS[kind][2], options=options, **(LEARN | {"epochs": 2}))
    inputs = {
        "model": root / "out/model.safetensors",
        "config": root / "out/config.yaml",
        "cohort": root / "cohort.csv",
        "patients": root / "patients.csv",
        "fold": root / "fold0.csv",
        "root": root,
        "output": tmp_path / "damaged.csv",
    }
    predict_occluded(**inputs, ratios=[0.0, 1.0], repeats=1, modes=["zero"])
    found = pd.read_csv(tmp_path / "damaged.csv", dtype={"level": str})
    told = list(task_of(settings(kind, unit)).told_columns)
    identity = f"{unit}_id"
    assert list(found) == ["perturbation", "level", "repeat", "unit", identity, *told]
    test = whole[whole["part"] == "test"].set_index(identity)
    same, other = (found[found["level"] == level].set_index(identity) for level in ("0", "1"))
    assert sorted(same.index) == sorted(test.index)
    pd.testing.assert_frame_equal(same[told], test.loc[same.index, told], check_exact=True)
    predict_perturbed(**inputs, perturbation="blur", perturbed={"light": root / "cohort.csv"})
    blurred = pd.read_csv(tmp_path / "damaged.csv").set_index(identity)
    pd.testing.assert_frame_equal(blurred[told], same[told], check_exact=True)
    assert len(other) == len(same)


def of_task(kind):
    return task_of(settings(kind))


@pytest.fixture(scope="module", params=["classification", "regression"])
def files(request, tmp_path_factory):
    """Predictions of two experiments on two folds, undamaged and damaged in three repeats."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    random = np.random.default_rng(0)
    truth = [random.permutation(np.linspace(-1, 1, SIZE)) for _ in range(FOLDS)]
    found = {"predictions": [], "damaged": []}

    def told(value, noise):
        shown = value + random.normal(0, noise, SIZE)
        if kind == "regression":
            return pd.DataFrame({"predicted": shown})
        high = 1 / (1 + np.exp(-shown))
        return pd.DataFrame({"probability_low": 1 - high, "probability_high": high})

    for name in ("first", "second"):
        for fold, value in enumerate(truth):
            ids = [f"P{fold}{i:02d}" for i in range(SIZE)]
            people = pd.DataFrame({"patient_id": ids, "part": "test"})
            column, *_ = TASKS[kind][0]
            people[column] = value if kind == "regression" else np.where(value > 0, "high", "low")
            ordinary = pd.concat([people, told(value, 0.3)], axis=1)
            validation = ordinary.assign(part="validation", patient_id="V" + ordinary["patient_id"])
            found["predictions"].append(folder / f"{name}{fold}.csv")
            pd.concat([validation, ordinary]).to_csv(found["predictions"][-1], index=False)
            rows = [
                pd.concat([people[["patient_id"]], told(value, 1 + i)], axis=1).assign(
                    perturbation=CURVE, level=level, repeat=repeat, unit="region"
                )[::-1]
                for i, level in enumerate(LEVELS)
                for repeat in range(REPEATS)
            ]
            found["damaged"].append(folder / f"{name}{fold}.damaged.csv")
            pd.concat(rows).to_csv(found["damaged"][-1], index=False)
    return kind, found


def draw(kind, files, folder):
    draw_robustness(
        curve=CURVE,
        names=["first", "second"],
        **files,
        table=folder / "curve.csv",
        figure=folder / "curve.svg",
        bootstrap=DRAWS,
        seed=SEED,
        task=settings(kind),
    )
    return pd.read_csv(folder / "curve.csv", dtype={"level": str})


def expected_score(kind, files, number, level, counts=None):
    """scikit-learn's score, mean over folds and repeats; with counts each patient so often."""
    column, *_ = TASKS[kind][0]
    found = []
    for fold in range(FOLDS):
        ordinary = pd.read_csv(files["predictions"][FOLDS * number + fold])
        truth = ordinary[ordinary["part"] == "test"].set_index("patient_id")[column]
        table = pd.read_csv(files["damaged"][FOLDS * number + fold], dtype={"level": str})
        for _, rows in table[table["level"] == level].groupby("repeat"):
            told = rows.set_index("patient_id").loc[truth.index]
            weight = None if counts is None else counts[fold]
            if kind == "regression":
                found.append(r2_score(truth, told["predicted"], sample_weight=weight))
            else:
                shown = told["probability_high"]
                found.append(roc_auc_score(truth == "high", shown, sample_weight=weight))
    return np.mean(found)


def test_strength_0_is_the_ordinary_evaluation_and_others_are_scikit_learns(files, tmp_path):
    kind, paths = files
    table = draw(kind, paths, tmp_path)
    task = of_task(kind)
    for number, name in enumerate(("first", "second")):
        folds = read_label_predictions(paths["predictions"][FOLDS * number :][:FOLDS], task)
        rows = metric_rows(folds, task, DRAWS, SEED)
        mean = next(row for row in rows if (row.metric, row.fold) == (task.score, "mean"))
        own = table[table["experiment"] == name]
        assert own["level"].tolist() == ["none", *LEVELS]
        first = own.iloc[0]
        for column in ("value", "low", "high"):
            assert first[column] == pytest.approx(getattr(mean, column), rel=1e-8)
        assert first["n"] == FOLDS * SIZE
        for level in LEVELS:
            row = own[own["level"] == level].iloc[0]
            assert row["value"] == pytest.approx(expected_score(kind, paths, number, level))
            assert row["repeats"] == REPEATS


def test_differences_are_on_the_same_draws(files, tmp_path):
    kind, paths = files
    table = draw(kind, paths, tmp_path)
    folds = read_label_predictions(paths["predictions"][:FOLDS], of_task(kind))
    counts = list(row_counts([fold.test for fold in folds], DRAWS, SEED))
    level = LEVELS[-1]
    gaps = [
        expected_score(kind, paths, 1, level, drawn) - expected_score(kind, paths, 0, level, drawn)
        for drawn in zip(*counts, strict=True)
    ]
    row = table[(table["experiment"] == "second") & (table["level"] == level)].iloc[0]
    first = table[(table["experiment"] == "first") & (table["level"] == level)].iloc[0]
    assert row["difference"] == pytest.approx(row["value"] - first["value"])
    ends = row[["difference_low", "difference_high"]].to_numpy(float)
    np.testing.assert_allclose(ends, np.quantile(gaps, [0.025, 0.975]), atol=1e-8)
    assert np.isnan(first["difference"])
    assert row["shared"] == FOLDS * SIZE


def test_the_report_reads_the_curve(files, tmp_path):
    kind, paths = files
    table = draw(kind, paths, tmp_path)
    (curve,) = curves([tmp_path / "curve.svg"])
    assert curve.score == {"classification": "AUROC", "regression": "R²"}[kind]
    assert curve.counted == f"{FOLDS * SIZE} patients"
    plain = table[(table["experiment"] == "second") & (table["level"] == "none")].iloc[0]
    assert curve.rows[1].undamaged == f"{plain['value']:.3f}".replace("-", "−")


def test_patients_that_are_missing_are_named(files, tmp_path):
    kind, paths = files
    table = pd.read_csv(paths["damaged"][0], dtype={"level": str})
    lost = table["patient_id"].iloc[4]
    table.drop(4).to_csv(tmp_path / "less.csv", index=False)
    less = paths | {"damaged": [tmp_path / "less.csv", *paths["damaged"][1:]]}
    with pytest.raises(PredictionError, match=rf"has not the test patients .*\({lost}\); predict"):
        draw(kind, less, tmp_path)
