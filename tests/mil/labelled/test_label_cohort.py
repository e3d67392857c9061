"""A further cohort whose labels are predicted: each model, the ensemble, and how well."""

import numpy as np
import pandas as pd
import pytest
from labelled_cohort import LEARN, SMALL, TASKS, label, settings
from sklearn.metrics import r2_score, roc_auc_score
from synthetic_cohort import run, write_cohort

from mil.cohort_prediction import predict_cohort
from mil.labelled.cohort_evaluation import evaluate_predicted_labels
from mil.labelled.ensemble import join_label_models
from mil.labelled.thresholds import youden_threshold
from mil.problems import InputError
from mil.report.predicted_label_page import write_predicted_label_report
from mil.slide_scores import read_attention
from mil.tasks import FIGURES, task_of
from wsi.storage import load_npz

FEW = LEARN | {"epochs": 3}
NEW = {"P000": "Q000"}  # a patient that no model has seen


def predict(root, fold, out, trained=True):
    paths = {
        "predictions": out / f"{fold}.csv",
        "draws": out / f"{fold}.npz",
        "attention": out / f"{fold}.attention.npz",
    }
    predict_cohort(
        model=root / f"fold{fold}/model.safetensors",
        config=root / f"fold{fold}/config.yaml",
        trained=root / f"fold{fold}/predictions.csv" if trained else None,
        cohort=root / "further.csv",
        root=root,
        device="cpu",
        **paths,
    )
    return paths


def made(kind, root, unit="patient"):
    """Two models of a cohort; its own patients, one renamed, are predicted as a further one."""
    label(root, kind, unit)
    for fold in (0, 1):
        options = {"task": settings(kind, unit), **SMALL}
        run(root, TASKS[kind][2], out=f"fold{fold}", options=options, fold_index=fold, **FEW)
    pd.read_csv(root / "cohort.csv").replace(NEW).to_csv(root / "further.csv", index=False)
    own = pd.read_csv(root / "patients.csv", dtype=str).replace(NEW)
    own.drop(1).to_csv(root / "labels.csv", index=False)  # one has no label here
    models = [predict(root, fold, root) for fold in (0, 1)]
    told = {key: [model[key] for model in models] for key in ("predictions", "draws")}
    join_label_models(task=settings(kind, unit), **told, ensemble=root / "ensemble.csv")
    return told


@pytest.fixture(scope="module", params=TASKS)
def predicted(request, tmp_path_factory):
    kind = request.param
    root = write_cohort(tmp_path_factory.mktemp(kind), patients=24, patches=4, width=8)
    return kind, root, made(kind, root)


def columns_of(kind):
    return list(task_of(settings(kind)).told_columns)


def test_a_patient_is_predicted_as_by_its_fold(predicted, caplog):
    kind, root, told = predicted
    columns = [*columns_of(kind), "part"]
    found = pd.read_csv(told["predictions"][0]).set_index("patient_id")
    own = pd.read_csv(root / "fold0/predictions.csv").set_index("patient_id")
    shared = [name for name in own.index if name != "P000"]
    pd.testing.assert_frame_equal(found.loc[shared, columns], own.loc[shared, columns])
    assert pd.isna(found.loc["Q000", "part"])
    predict(root, 0, root)
    assert own.index[own["part"] == "train"][1] in caplog.text, "a warning by name"
    assert len(read_attention(root / "0.attention.npz")) == 24


def test_decisions_are_by_thresholds_of_the_models_own_validation_part(predicted):
    kind, root, told = predicted
    task = task_of(settings(kind))
    own = pd.read_csv(root / "fold0/predictions.csv", dtype=task.dtypes)
    validation = own[own["part"] == "validation"].reset_index(drop=True)
    truth = task.numbers(validation)
    found = pd.read_csv(told["predictions"][0], dtype=str)
    expected = {
        "classification": {"grade": "probability_high"},
        "several": {name: f"probability_{name}" for name in ("early", "late")},
    }.get(kind, {})
    thresholds = load_npz(told["draws"][0])[0]["thresholds"]
    assert len(thresholds) == len(expected)
    for place, (column, score) in enumerate(expected.items()):
        threshold = youden_threshold(truth[column].to_numpy(), validation[score].to_numpy())
        assert thresholds[place] == pytest.approx(threshold)
        decision = f"decision_{column}" if kind == "several" else "decision"
        above = found[score].astype(float) >= threshold
        assert found[decision].tolist() == np.where(above, *task.classes[::-1]).tolist()
    if kind == "ordinal":
        most = found[columns_of(kind)].astype(float).to_numpy().argmax(1)
        assert found["decision"].tolist() == np.array(task.classes)[most].tolist()
    assert ("decision" in found) == (kind in ("classification", "ordinal"))


def test_the_ensemble_is_the_mean(predicted):
    kind, root, told = predicted
    tables = [pd.read_csv(path) for path in told["predictions"]]
    joined = pd.read_csv(root / "ensemble.csv", dtype={"decision": str})
    for column in columns_of(kind):
        both = np.stack([table[column] for table in tables])
        np.testing.assert_allclose(joined[column], both.mean(0), rtol=1e-7)
        spread = "sd" if kind == "regression" else column.replace("probability", "sd")
        np.testing.assert_allclose(joined[spread], both.std(0, ddof=1), rtol=1e-6, atol=1e-9)
    seen = [table["part"].isin(["train", "validation"]) for table in tables]
    assert joined["seen_by"].tolist() == (seen[0].astype(int) + seen[1].astype(int)).tolist()
    if kind == "classification":
        threshold = np.mean([load_npz(path)[0]["thresholds"][0] for path in told["draws"]])
        high = joined["probability_high"] >= threshold
        assert joined["decision"].tolist() == np.where(high, "high", "low").tolist()


def evaluate(kind, root, told, out, unit="patient", labels="labels.csv"):
    task = settings(kind, unit)
    evaluate_predicted_labels(
        name="abmil",
        task=task,
        labels=root / labels,
        **told,
        ensemble=root / "ensemble.csv",
        metrics=out / "metrics.csv",
        figures={name: out / f"{name}.svg" for name in FIGURES[task["name"]]},
        bootstrap=40,
        seed=1,
    )
    return pd.read_csv(out / "metrics.csv").set_index(["metric", "fold"])


def test_evaluation_leaves_out_whom_a_model_has_seen_and_whose_label_is_not_known(
    predicted, tmp_path, caplog
):
    kind, root, told = predicted
    metrics = evaluate(kind, root, told, tmp_path)
    joined = pd.read_csv(root / "ensemble.csv")
    own = pd.read_csv(root / "labels.csv")
    judged = joined[joined["seen_by"] == 0].merge(own, on="patient_id")
    assert "Q000" in set(judged["patient_id"])
    task = task_of(settings(kind))
    row = metrics.loc[(task.score, "ensemble")]
    assert row["n"] == len(judged)
    assert "not evaluated, for want of a label: P001" in caplog.text
    if kind == "regression":
        expected = r2_score(judged["size"], judged["predicted"])
    elif kind == "classification":
        expected = roc_auc_score(judged["grade"] == "high", judged["probability_high"])
    elif kind == "several":
        expected = np.mean(
            [roc_auc_score(judged[n], judged[f"probability_{n}"]) for n in ("early", "late")]
        )
    else:
        expected = row["value"]
    assert row["value"] == pytest.approx(expected)
    assert row["low"] <= row["value"] <= row["high"]
    assert set(metrics.loc[task.score].index) == {"0", "1", "mean", "ensemble"}
    models = metrics.loc[task.score]["value"]
    assert models["mean"] == pytest.approx((models["0"] + models["1"]) / 2)
    if task.classes:  # pooled over models each patient would count twice
        assert set(metrics.loc["ece"].index) == {"ensemble"}
    for name in FIGURES[task.name]:
        assert (tmp_path / f"{name}.svg").stat().st_size > 3000
    if kind == "classification":
        assert pd.read_csv(tmp_path / "confusion.csv")["n"].sum() == len(judged)


def page(kind, root, told, out, metrics=(), labels=None):
    slides = pd.read_csv(root / "further.csv")[["slide_id", "patient_id"]]
    slides.to_csv(root / "slides.csv", index=False)
    (root / "excluded.csv").write_text("level,id,patient_id,stage,kind,reason\n")
    write_predicted_label_report(
        name="elsewhere",
        report=out / "report.html",
        task=settings(kind),
        experiments=[
            {"name": "abmil", "model": "abmil", "head": "h", "encoder": "test", "models": 2}
        ],
        models="/data/other",
        root=root,
        slides=root / "slides.csv",
        cohorts=[root / "further.csv"],
        excluded=[root / "excluded.csv"],
        predictions=told["predictions"],
        ensembles=[root / "ensemble.csv"],
        metrics=metrics,
        heatmaps=[out / "heatmaps.jpg"] if metrics else [],
        labels=labels,
        bootstrap=40,
        version="1",
    )
    return " ".join((out / "report.html").read_text().split())


def test_the_page_says_what_was_predicted_and_how_well(predicted, tmp_path, monkeypatch):
    monkeypatch.setattr("mil.report.provenance.encoder_facts", lambda root, rows: [])
    kind, root, told = predicted
    metrics = evaluate(kind, root, told, tmp_path)
    (tmp_path / "heatmaps.jpg").write_bytes(b"jpeg")
    text = page(kind, root, told, tmp_path, [tmp_path / "metrics.csv"], root / "labels.csv")
    value = metrics.loc[(task_of(settings(kind)).score, "ensemble"), "value"]
    assert f"<strong>{value:.3f}</strong>".replace("-", "−") in text
    assert "predicted, not evaluated: not in the table of labels" in text
    assert text.count("was trained or chosen on patients of this cohort") == 2
    unknown = page(kind, root, told, tmp_path)
    assert "Their labels are not known here" in unknown
    assert "How well it is predicted" not in unknown


def test_nobody_to_judge_is_said(predicted, tmp_path):
    kind, root, told = predicted
    table = pd.read_csv(root / "labels.csv", dtype=str)
    table.assign(patient_id="X" + table["patient_id"]).to_csv(root / "others.csv", index=False)
    metrics = evaluate(kind, root, told, tmp_path, labels="others.csv")
    row = metrics.loc[(task_of(settings(kind)).score, "ensemble")]
    assert np.isnan(row["value"])
    assert row["n"] == 0
    assert row["reason"] in ("a class has nobody among those evaluated", "all have one value")


def test_slides_of_a_seen_patient_are_seen(tmp_path):
    root = write_cohort(tmp_path, patients=24, patches=4, width=8, slides=2)
    told = made("classification", root, "slide")
    joined = pd.read_csv(root / "ensemble.csv")
    assert list(joined)[:3] == ["slide_id", "patient_id", "seen_by"]
    fold = pd.read_csv(root / "fold0.csv").set_index("patient_id")["part"]
    expected = 2 * fold.reindex(joined["patient_id"]).isin(["train", "validation"]).to_numpy()
    assert joined["seen_by"].tolist() == expected.tolist()
    metrics = evaluate("classification", root, told, tmp_path, "slide")
    judged = joined[(joined["seen_by"] == 0) & (joined["slide_id"] != "P000-1")]
    assert metrics.loc[("auroc", "ensemble"), "n"] == len(judged)


def test_other_patients_cannot_be_joined_and_unknown_folds_are_said(predicted, tmp_path, caplog):
    kind, root, told = predicted
    pd.read_csv(told["predictions"][1]).drop(3).to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(InputError, match=r"less.csv: others than in .*; predict again"):
        join_label_models(
            task=settings(kind),
            predictions=[told["predictions"][0], tmp_path / "less.csv"],
            draws=told["draws"],
            ensemble=tmp_path / "e.csv",
        )
    predict(root, 0, tmp_path, trained=False)
    assert "comes without predictions of its own fold" in caplog.text
    assert set(load_npz(tmp_path / "0.npz")[0]["thresholds"]) <= {0.5}
