"""A further cohort: predicted as the fold's own test patients are, joined, and judged."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_cohort import run, write_cohort

from mil.cohort_evaluation import evaluate_predicted
from mil.cohort_prediction import predict_cohort
from mil.ensemble import join_models
from mil.problems import InputError
from mil.slide_scores import read_attention
from mil.stored_curves import read_curves
from mil.survival.metrics.concordance import harrell_c
from wsi.storage import load_npz

KEYS = {"epochs": 4, "draws": 40}
SMALL = {"model_options": {"hidden": 16, "out": 16}}
HEADS = ("adversarial", "cox", "nll", "time")
ORIGIN = {"encoder": "resnet50", "weights_sha256": "5" * 64, "patch_px": 256, "patch_um": 256.0,
          "neighbours": 8, "clusters_k": 8}  # fmt: skip


def with_origin(path, **changes):
    """Add the columns of the origin to a cohort table."""
    table = pd.read_csv(path)
    for name, value in (ORIGIN | changes).items():
        table[name] = value
    table.to_csv(path, index=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A cohort with two models of each head; its own patients are predicted as a further one."""
    root = write_cohort(tmp_path_factory.mktemp("cohort"), patients=16, slides=2, patches=16)
    with_origin(root / "cohort.csv")
    for head in HEADS:
        for fold in (0, 1):
            run(root, head, out=f"{head}{fold}", options=SMALL, fold_index=fold, **KEYS)
    table = pd.read_csv(root / "cohort.csv")
    table["patient_id"] = table["patient_id"].replace({"P000": "Q000"})  # one that is new
    table.to_csv(root / "further.csv", index=False)
    return root


def predict(root, head, fold=0, cohort="further.csv", trained=True, out=None):
    out = out or root / f"further-{head}{fold}"
    paths = {
        "predictions": out / "predictions.csv",
        "draws": out / "draws.npz",
        "attention": out / "attention.npz",
    }
    model = root / f"{head}{fold}"
    predict_cohort(
        model=model / "model.safetensors",
        config=model / "config.yaml",
        trained=model / "predictions.csv" if trained else None,
        cohort=root / cohort,
        root=root,
        device="cpu",
        **paths,
    )
    return SimpleNamespace(**paths, table=pd.read_csv(paths["predictions"]))


def join(root, head):
    made = [predict(root, head, fold) for fold in (0, 1)]
    out = {"ensemble": root / f"{head}.csv", "curves": root / f"{head}.npz"}
    join_models(predictions=[m.predictions for m in made], draws=[m.draws for m in made], **out)
    return pd.read_csv(out["ensemble"]), made, out


@pytest.mark.parametrize("head", HEADS)
def test_a_patient_is_predicted_as_by_its_fold(root, head, caplog):
    found = predict(root, head).table.set_index("patient_id")
    own = pd.read_csv(root / f"{head}0/predictions.csv").set_index("patient_id")
    shared = [name for name in own.index if name != "P000"]
    columns = ["part", "risk", "predicted_time"]
    pd.testing.assert_frame_equal(found.loc[shared, columns], own.loc[shared, columns])
    assert pd.isna(found.loc["Q000", "part"])
    train = own[own["part"] == "train"]
    high = found["risk"] > train["risk"].median()
    assert (found["group"] == np.where(high, "high", "low")).all()
    seen = own.index[own["part"] != "test"]
    for name in set(seen) - {"P000"}:
        assert name in caplog.text, "a warning by name"
    if head != "time":
        inside = (found["low_50"] <= found["predicted_time"]) & (
            found["predicted_time"] <= found["high_50"]
        )
        assert inside[found["time_flag"].isna()].all()


def test_attention_of_every_patient_is_kept(root):
    attention = read_attention(predict(root, "nll").attention)
    assert len(attention) == 32
    both = attention["P000-0"].sum() + attention["P000-1"].sum()
    assert both == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_the_ensemble_is_the_mean_of_what_the_models_say(root, head):
    joined, made, out = join(root, head)
    times = [0.5, 2.0, 5.0, 12.0]
    curves = [read_curves(m.table, m.draws) for m in made]
    seen = [m.table["part"].isin(["train", "validation"]) for m in made]
    assert joined["seen_by"].tolist() == sum(s.astype(int) for s in seen).tolist()
    if head == "time":
        mean = (made[0].table["predicted_time"] + made[1].table["predicted_time"]) / 2
        np.testing.assert_allclose(joined["predicted_time"], mean, rtol=1e-6)
        np.testing.assert_allclose(joined["risk"], -mean, rtol=1e-6)
        assert joined["low_80"].isna().all()
        return
    stored, _ = load_npz(out["curves"])
    expected = np.mean([c.at(times) for c in curves], axis=0)
    for i in range(len(joined)):
        knots = stored["knots"][min(i, len(stored["knots"]) - 1)]
        values = stored["survival"][min(i, len(stored["survival"]) - 1)]
        if stored["straight"]:
            own = np.interp(times, [0, *knots], [1, *values])
        else:
            own = np.append(1, values)[np.searchsorted(knots, times, side="right")]
        np.testing.assert_allclose(own, expected[i], atol=1e-9)
    if head == "adversarial":
        pooled = np.concatenate([load_npz(m.draws)[0]["draws"] for m in made], axis=1)
        median = np.sort(pooled, axis=1)[:, 39]  # the lower middle one of 80
        np.testing.assert_allclose(joined["predicted_time"], median, rtol=1e-6)
        np.testing.assert_allclose(joined["risk"], -median, rtol=1e-6)
    groups = pd.concat([m.table["group"] for m in made], axis=1)
    votes = (groups == "high").sum(axis=1)
    assert joined["votes_high"].tolist() == votes.tolist()
    assert joined["group"].tolist() == ["high" if v >= 1 else "low" for v in votes]


def test_evaluation_leaves_out_whom_a_model_has_seen_and_whose_follow_up_is_not_known(root):
    joined, made, out = join(root, "nll")
    own = pd.read_csv(root / "patients.csv").replace({"P000": "Q000"})
    test = made[0].table.loc[made[0].table["part"] == "test", "patient_id"].tolist()
    own[own["patient_id"] != test[0]].to_csv(root / "follow_up.csv", index=False)
    paths = {name: root / f"nll-{name}" for name in ("metrics", "curves")}
    evaluate_predicted(
        name="nll",
        patients=root / "follow_up.csv",
        predictions=[m.predictions for m in made],
        draws=[m.draws for m in made],
        ensemble=out["ensemble"],
        joined_curves=out["curves"],
        trained=[root / f"nll{fold}/predictions.csv" for fold in (0, 1)],
        kaplan_meier=root / "nll.svg",
        bootstrap=50,
        seed=1,
        unit="months",
        **paths,
    )
    metrics = pd.read_csv(paths["metrics"]).set_index(["metric", "fold"])
    judged = joined.merge(own, on="patient_id")
    judged = judged[judged["patient_id"].isin([*test[1:], "Q000"])]
    row = metrics.loc[("c_index", "ensemble")]
    assert row["n"] == len(judged) == 4
    expected = harrell_c(judged["time"], judged["event"], judged["risk"]).value
    assert row["value"] == pytest.approx(expected)
    assert set(metrics.loc["c_index"].index) == {"0", "1", "mean", "ensemble"}
    assert metrics.loc[("logrank_p", "ensemble"), "n"] == 4
    errors = (judged["time"] - judged["predicted_time"]).abs()[judged["event"] == 1]
    assert metrics.loc[("mae_uncensored", "ensemble"), "value"] == pytest.approx(errors.mean())
    assert {"uno_c", "ibs"} <= set(metrics.index.get_level_values("metric"))
    curves = pd.read_csv(paths["curves"])
    assert set(curves["fold"]) == {"0", "1", "ensemble"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": "uni"}, "was trained with encoder resnet50, but it is uni for slides P000-0"),
        ({"weights_sha256": "6" * 64}, "weights (SHA-256) 5555"),
        ({"patch_px": 224}, "side of a patch in pixels 256, but it is 224"),
        ({"patch_um": 128.0}, "patches with sides of 256 to 256 um, but they are 128 to 128 um"),
    ],
)
def test_features_of_another_kind_are_refused(root, changes, words, tmp_path):
    shutil.copy(root / "further.csv", root / "wrong.csv")
    with_origin(root / "wrong.csv", **changes)
    with pytest.raises(InputError) as caught:
        predict(root, "nll", cohort="wrong.csv", out=tmp_path)
    assert words in str(caught.value)


def test_what_only_other_models_read_may_differ(root, tmp_path):
    shutil.copy(root / "further.csv", root / "others.csv")
    with_origin(root / "others.csv", neighbours=4, clusters_k=3, patch_um=250.0)
    predict(root, "nll", cohort="others.csv", out=tmp_path / "others")
    predict(root, "nll", cohort="further.csv", out=tmp_path / "further")
    found = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("others", "further")]
    assert found[0] == found[1]


def test_features_of_another_width_are_refused(root, tmp_path):
    other = write_cohort(tmp_path / "other", patients=4, patches=16, width=24)
    config = yaml.safe_load((root / "nll0/config.yaml").read_text())
    assert config["features"]["encoder"] == ["resnet50"]
    assert config["features"]["patch_um"] == [256.0, 256.0]
    with pytest.raises(InputError, match="24 wide, but model abmil-nll, fold 0 was trained on 32"):
        predict_cohort(
            model=root / "nll0/model.safetensors",
            config=root / "nll0/config.yaml",
            cohort=other / "cohort.csv",
            root=other,
            predictions=tmp_path / "p.csv",
            draws=tmp_path / "d.npz",
            attention=tmp_path / "a.npz",
        )


def test_a_converted_model_predicts_without_groups(root, tmp_path, caplog):
    """It comes without predictions of a training part."""
    found = predict(root, "adversarial", trained=False, out=tmp_path)
    assert found.table["group"].isna().all()
    assert "there are no risk groups" in caplog.text
