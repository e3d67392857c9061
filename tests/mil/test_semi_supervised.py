"""Training where labels of some training patients are hidden: who learns from what."""

import hashlib
import logging
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from examples import SMALL_MODELS, pairs
from sklearn.model_selection import KFold
from synthetic_cohort import run, write_cohort
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mil.evaluation import evaluate_experiment
from mil.labels import patients_sha256
from mil.problems import InputError
from mil.survival.metrics.concordance import harrell_c
from mil.training import epoch as training_epoch
from mil.training.patients import choose_patients

QUICK = {"epochs": 5, "warmup": 0, "patience": 3, "learning_rate": 1e-3, "validation_draws": 4,
         "draws": 8, "window": 4}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=40, patches=16)


def part(patients=20):
    return pd.DataFrame(
        {
            "patient_id": [f"P{i:02d}" for i in range(patients)],
            "part": "train",
            "time": np.arange(1.0, patients + 1),
            "event": np.arange(patients) % 2,
        }
    )


def chosen(semi=None, sample=None, patients=20, fold_index=0, seed=7, **own):
    experiment = {
        "name": "x",
        "head": "adversarial",
        "semi_supervised": semi,
        "training": {"sample": sample},
        **own,
    }
    return choose_patients(part(patients), experiment, seed, fold_index)


def ids(table):
    return set(table["patient_id"])


def test_without_the_option_the_training_part_is_as_it_is():
    made = chosen()
    pd.testing.assert_frame_equal(made.of_epoch(1), part())
    assert made.of_epoch(9) is made.labelled
    assert made.warmup(5) == 5


@pytest.mark.parametrize(
    ("labelled", "count"), [(0.6, 12), (0.29, 29), (0.999, 19), (7, 7), (1, 1)]
)
def test_a_share_is_rounded_down_and_a_count_is_one(labelled, count):
    """As published; 0.29 of 100 are 29, whatever binary fractions make of it."""
    patients = 100 if labelled == 0.29 else 20
    seed = next(s for s in range(9) if part(patients)["event"].any())
    for seed in range(9):
        try:
            made = chosen({"labelled": labelled, "mode": "LD"}, patients=patients, seed=seed)
        except InputError:  # the one patient has no event
            continue
        assert len(made.labelled) == count
        assert len(made.unlabelled) == patients - count
        return
    pytest.fail("no seed draws a patient with an event")


def test_the_epochs_of_each_mode():
    made = chosen({"labelled": 7, "kfold": 5})
    everybody = ids(part())
    assert len(made.labelled) == 7
    assert ids(made.labelled) | ids(made.unlabelled) == everybody
    turns = [ids(made.of_epoch(q)) - ids(made.labelled) for q in range(1, 12)]
    assert [len(t) for t in turns[:5]] == [len(t) for _, t in KFold(5).split(made.unlabelled)]
    assert set().union(*turns[:5]) == ids(made.unlabelled)
    assert sum(map(len, turns[:5])) == 13
    assert turns[5:10] == turns[:5]
    assert turns[10] == turns[0]
    for q in range(1, 12):
        assert ids(made.labelled) <= ids(made.of_epoch(q))
    assert (made.warmup(0), made.warmup(9)) == (5, 9)

    control = chosen({"labelled": 7, "mode": "LD"})
    assert ids(control.of_epoch(3)) == ids(made.labelled), "the same patients as in UD+LD"
    assert control.warmup(0) == 0
    alone = chosen({"labelled": 7, "mode": "UD"})
    assert ids(alone.of_epoch(1)) == ids(alone.of_epoch(2)) == ids(made.unlabelled)
    assert alone.warmup(0) == 0


def test_hidden_labels_are_gone():
    made = chosen({})
    assert made.unlabelled["time"].isna().all()
    assert (made.unlabelled["event"] == 0).all()
    rows = made.of_epoch(1).set_index("patient_id")
    assert rows.loc[sorted(ids(made.labelled)), "time"].notna().all()
    assert rows["time"].isna().sum() == 2


def test_draws_are_by_name_and_nested():
    """A learning curve: each share holds the smaller ones; no label decides who is drawn."""
    for option in ("sample", "labelled"):
        kept = [
            chosen(
                **({"sample": s} if option == "sample" else {"semi": {"labelled": s, "kfold": 2}})
            )
            for s in (0.2, 0.4, 0.6, 0.8)
        ]
        sizes = [len(made.labelled) for made in kept]
        assert sizes == [4, 8, 12, 16]
        for small, large in pairwise(kept):
            assert ids(small.labelled) < ids(large.labelled)
    assert ids(chosen(sample=8).labelled) == ids(chosen(sample=0.4).labelled)
    assert ids(chosen(sample=8, name="y").labelled) == ids(chosen(sample=8).labelled)
    assert ids(chosen(sample=8, fold_index=1).labelled) != ids(chosen(sample=8).labelled)
    assert ids(chosen(sample=8, seed=8).labelled) != ids(chosen(sample=8).labelled)
    made = chosen({"labelled": 0.5, "kfold": 2}, sample=10)
    assert (len(made.labelled), len(made.unlabelled)) == (5, 5)
    assert ids(made.labelled) | ids(made.unlabelled) == ids(chosen(sample=10).labelled)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"semi": {"labelled": 20}}, "labelled is 20, 20 of 20 .* at least 1 and at most 19"),
        ({"semi": {"labelled": 0.01}}, "labelled is 0.01, 0 of 20 training patients"),
        ({"semi": {"labelled": 18}}, "kfold is 5, but only 2 patients are unlabelled"),
        ({"sample": 21}, r"'x', fold 0: training.sample is 21, 21 of 20 .* at most 20"),
        ({"semi": {}, "head": "cox"}, "mode is UD.LD, but the head is cox; .*mode: LD"),
        ({"semi": {}, "head_options": {"adversarial_weight": 0}}, "adversarial_weight is 0"),
    ],
)
def test_what_cannot_be_is_a_sentence(own, sentence):
    with pytest.raises(InputError, match=sentence):
        chosen(**own)


def test_labelled_patients_without_an_event_are_a_sentence():
    table = part().assign(event=0)
    table.loc[table["patient_id"].isin(ids(chosen({}).unlabelled)), "event"] = 1
    experiment = {"name": "x", "head": "adversarial", "semi_supervised": {}}
    with pytest.raises(InputError, match="none of the 12 labelled training patients has an event"):
        choose_patients(table, experiment, 7, 0)


def gradients_of(train):
    """Call `train`; return a digest of all gradients of every optimiser step."""
    digests = []

    def note(optimiser, *_):
        digest = hashlib.sha256()
        for group in optimiser.param_groups:
            for p in group["params"]:
                digest.update(b"" if p.grad is None else p.grad.numpy().tobytes())
        digests.append(digest.hexdigest())

    hook = register_optimizer_step_pre_hook(note)
    try:
        train()
    finally:
        hook.remove()
    return digests


def with_other_labels(cohort, patients, time):
    """Return the patient table with `time` and the other event for some patients."""
    labels = pd.read_csv(cohort / "patients.csv")
    rows = labels["patient_id"].isin(patients)
    labels.loc[rows, "time"] = time
    labels.loc[rows, "event"] = 1 - labels.loc[rows, "event"]
    return labels


@pytest.mark.parametrize(
    ("model", "mode"),
    [*((name, "UD+LD") for name, _ in pairs("adversarial")), ("abmil", "UD"), ("abmil", "LD")],
)
def test_hidden_labels_touch_nothing(cohort, model, mode):
    """Every gradient, the chosen epoch and the model are the same bytes, whatever they are."""
    semi = {"labelled": 0.5, "mode": mode, "kfold": 3}
    options = {
        "semi_supervised": semi,
        "head_options": {"ranking_weight": 0.5},
        "model_options": SMALL_MODELS.get(model, {}),
    }
    fold = pd.read_csv(cohort / "fold0.csv")
    train = fold[fold["part"] == "train"].assign(time=1.0, event=1)
    experiment = {"name": f"{model}-adversarial", "head": "adversarial", "semi_supervised": semi}
    patients = choose_patients(train, experiment, 7, 0)
    kept = (cohort / "patients.csv").read_text()
    seen = {}
    try:
        for out, changed, time in (
            ("as-they-are", [], 0),
            ("hidden", ids(patients.unlabelled), 1e6),  # t_ref, if it saw them
            ("labelled", sorted(ids(patients.labelled))[:1], 1e6),
        ):
            with_other_labels(cohort, changed, time).to_csv(cohort / "patients.csv", index=False)
            here = f"{model}-{mode}-{out}"
            steps = gradients_of(
                lambda here=here: run(
                    cohort, "adversarial", model=model, out=here, options=options,
                    standardise=True, **QUICK,
                )
            )  # fmt: skip
            names = ("model.safetensors", "history.csv", "config.yaml")
            seen[out] = [steps, *((cohort / here / name).read_bytes() for name in names)]
    finally:
        (cohort / "patients.csv").write_text(kept)
    assert len(seen["hidden"][0]) >= 2 * 3 * 3  # two optimisers, three windows, three epochs
    assert seen["hidden"] == seen["as-they-are"]
    assert seen["labelled"] != seen["as-they-are"], "this test can fail"
    made = yaml.safe_load(seen["hidden"][3])
    assert made["fitted"]["training_patients_sha256"] == patients_sha256(ids(patients.labelled))
    assert made["fitted"]["t_ref"] < 1e5


def test_epochs_of_a_run_have_the_patients_they_should(cohort, monkeypatch, caplog):
    seen = []
    train = training_epoch.windows

    def spy(shuffled, *rest):
        seen.append(len(shuffled))
        return train(shuffled, *rest)

    monkeypatch.setattr(training_epoch, "windows", spy)
    with caplog.at_level(logging.INFO):
        options = {"semi_supervised": {"labelled": 0.6}}
        predictions, history = run(cohort, "adversarial", out="counts", options=options,
                                   **{**QUICK, "epochs": 7})  # fmt: skip
    assert seen == [14, 14, 14, 13, 13, 14, 14]  # 12 labelled; 8 unlabelled in 2, 2, 2, 1, 1
    assert history.loc[history["chosen"] == 1, "epoch"].item() > 5
    assert "UD+LD: 12 labelled training patients, 8 unlabelled, in 5 parts" in caplog.text
    assert "the warm-up is 5 epochs, not 0" in caplog.text
    assert (predictions.loc[predictions["part"] == "train", "use"].value_counts().to_dict()) == {
        "labelled": 12, "unlabelled": 8
    }  # fmt: skip
    assert predictions.loc[predictions["part"] != "train", "use"].isna().all()
    assert history["train_c_index"].notna().all()


def test_unlabelled_alone_fit_no_time(cohort, caplog):
    options = {"semi_supervised": {"mode": "UD"}}
    _, history = run(cohort, "adversarial", out="ud", options=options, **QUICK)
    assert history["train_loss"].isna().all()
    assert history["real_accuracy"].isna().all()
    assert history["discriminator_loss"].notna().all()
    assert history["adversarial_loss"].notna().all()
    assert "UD: no labels at all are trained on" in caplog.text


def test_the_control_equals_a_fold_without_the_others(cohort):
    """LD, with any head, is training on the labelled patients, as if there were no others."""
    options = {"semi_supervised": {"mode": "LD", "labelled": 0.5}}
    predictions, _ = run(cohort, "cox", out="ld", options=options, **QUICK)
    fold = pd.read_csv(cohort / "fold0.csv")
    hidden = predictions.loc[predictions["use"] == "unlabelled", "patient_id"]
    kept = (cohort / "fold0.csv").read_text()
    try:
        fold[~fold["patient_id"].isin(hidden)].to_csv(cohort / "fold0.csv", index=False)
        run(cohort, "cox", out="small", **QUICK)
    finally:
        (cohort / "fold0.csv").write_text(kept)
    for name in ("model.safetensors", "history.csv"):
        assert (cohort / "ld" / name).read_bytes() == (cohort / "small" / name).read_bytes()
    predictions, _ = run(cohort, "cox", out="sampled", sample=0.5, **QUICK)
    made = yaml.safe_load((cohort / "sampled/config.yaml").read_text())
    kept = predictions.loc[predictions["use"] == "labelled", "patient_id"]
    assert len(kept) == 10
    assert (predictions["use"] == "left_out").sum() == 10
    assert made["fitted"]["training_patients_sha256"] == patients_sha256(list(kept))


def test_evaluation_has_the_published_sets(cohort):
    options = {"semi_supervised": {"labelled": 0.5}}
    here = cohort / "sets"
    predictions, _ = run(cohort, "adversarial", out="sets", options=options, **QUICK)
    names = ("metrics.csv", "alarms.csv", "km.csv", "km.svg", "curves.svg", "curves.csv")
    keys = ("metrics", "alarms", "curves", "kaplan_meier", "training_curves", "training_curves_csv")
    evaluate_experiment(
        name="sets", predictions=[here / "predictions.csv"], draws=[here / "draws.npz"],
        histories=[here / "history.csv"],
        **{key: here / name for key, name in zip(keys, names, strict=True)},
        horizons=[], bootstrap=20, seed=1, unit="days",
    )  # fmt: skip
    metrics = pd.read_csv(here / "metrics.csv")
    train = predictions["part"] == "train"
    for metric, rows in (
        ("c_index", predictions["part"] == "test"),
        ("c_index_validation", predictions["part"] == "validation"),
        ("c_index_labelled_train", train & (predictions["use"] == "labelled")),
        ("c_index_unlabelled_train", train & (predictions["use"] == "unlabelled")),
    ):
        table = predictions[rows]
        expected = harrell_c(table["time"], table["event"], table["risk"])
        found = metrics[(metrics["metric"] == metric) & (metrics["fold"] == "mean")].iloc[0]
        assert found["value"] == pytest.approx(expected.value, abs=1e-8)
        assert (found["n"], found["events"]) == (len(table), table["event"].sum())
    curves = pd.read_csv(here / "km.csv")
    assert len(curves)
