"""Training and prediction as a user meets them: files in, files out."""

import contextlib
import logging

import numpy as np
import pandas as pd
import pytest
import synthetic_cohort
import torch
import yaml
from examples import SMALL_MODELS, pairs
from synthetic_cohort import run, write_cohort

from mil.bag_folder import BagFolder
from mil.heads import HEADS, head_names
from mil.labels import patients_sha256
from mil.models import MODELS
from mil.network import Network
from mil.problems import InputError
from mil.slide_scores import read_attention
from mil.survival.metrics.concordance import harrell_c
from mil.training.scaling import fit_scaling
from mil.training.windows import windows
from wsi.storage import Outcome, load_npz, read_features, save_npz

QUICK = {"epochs": 40, "learning_rate": 1e-3, "patience": 15, "validation_draws": 16, "draws": 50}
SMALL = {"model_options": {"hidden": 32, "out": 32}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=60, slides=2, patches=16)


def c_index(predictions, part):
    rows = predictions[predictions["part"] == part]
    return harrell_c(rows["time"], rows["event"], rows["risk"]).value


@pytest.mark.parametrize("head", head_names("survival"))
def test_a_planted_hazard_is_found(cohort, head):
    predictions, history = run(cohort, head, out=f"found-{head}", options=SMALL, **QUICK)
    assert c_index(predictions, "validation") > 0.8
    assert c_index(predictions, "test") > 0.8
    chosen = history[history["chosen"] == 1]
    assert len(chosen) == 1
    eligible = history[history["epoch"] > 5]
    assert chosen["validation_loss"].item() == pytest.approx(eligible["validation_loss"].min())
    assert (predictions["risk"].diff().abs() > 0).any()
    told = predictions["predicted_time"].notna()
    assert (predictions.loc[told, "predicted_time"] > 0).all()
    assert told.any() if head == "cox" else told.all()  # a Cox median may not be reached
    assert (predictions["time_flag"] == "not reached").eq(~told).all()
    timed = predictions[(predictions["event"] == 1) & (predictions["part"] == "test")]
    if head == "adversarial":
        error = (timed["predicted_time"] - timed["time"]).abs().mean()
        assert error < 0.7 * (timed["time"] - timed["time"].median()).abs().mean()


def test_it_is_found_in_graphs(cohort):
    options = {"hidden": 32, "out": 32, "num_layers": 2, "edge_agg": "latent"}
    keys = {**QUICK, "epochs": 30, "patience": 8}
    predictions, _ = run(
        cohort, "nll", model="patchgcn", out="graph", options={"model_options": options}, **keys
    )
    assert c_index(predictions, "test") > 0.75


def test_it_is_found_in_clusters(tmp_path):
    """In mixed clusters: those that part the two kinds of instances hide their share, z."""
    cohort = write_cohort(tmp_path, patients=60)
    for path in (cohort / "clusters").iterdir():
        arrays, attributes = load_npz(path)
        arrays["cluster"] = np.arange(len(arrays["cluster"]), dtype=np.int32) % 4
        save_npz(path, Outcome(path.stem, "cluster_patches"), attributes, **arrays)
    options = {"model_options": {"hidden": 32}}
    keys = {**QUICK, "epochs": 30, "patience": 8}
    predictions, _ = run(cohort, "nll", model="deepattnmisl", options=options, **keys)
    assert c_index(predictions, "test") > 0.75


@pytest.mark.parametrize(("model", "head"), pairs(*head_names("survival")))
def test_every_model_is_trained_and_predicted_with_every_head(cohort, model, head):
    out = f"{model}-{head}"
    options = {"model_options": SMALL_MODELS.get(model, {})}
    keys = {"epochs": 2, "warmup": 0, "validation_draws": 4, "draws": 8}
    predictions, _ = run(cohort, head, model=model, out=out, options=options, **keys)
    assert np.isfinite(predictions["risk"]).all()
    attention = read_attention(cohort / out / "attention.npz")
    weights = MODELS.find(model).scores_are == "attention"
    for patient in predictions.loc[predictions["part"] == "test", "patient_id"]:
        scores = np.concatenate([attention[f"{patient}-{slide}"] for slide in (0, 1)])
        assert np.isfinite(scores).all()
        assert not weights or scores.sum() == pytest.approx(1, abs=1e-5)


def test_a_graph_without_neighbours_among_features_is_a_sentence(tmp_path):
    cohort = write_cohort(tmp_path, patients=16)
    for path in (cohort / "graphs").iterdir():
        arrays, attributes = load_npz(path)
        save_npz(path, Outcome(path.stem, "build_graph"), {**attributes, "latent": False}, **arrays)
    options = {"model_options": {"edge_agg": "latent"}}
    with pytest.raises(InputError, match=r"no edge_latent, .* Set graphs: \{latent: true\}"):
        run(cohort, "nll", model="patchgcn", options=options, epochs=1)


@pytest.mark.parametrize("head", head_names("survival"))
def test_a_transformer_over_regions_finds_it_with_any_head(cohort, head):
    small = {"model_options": {"hidden": 32}}
    predictions, _ = run(cohort, head, model="esat", out=f"esat-{head}", options=small, **QUICK)
    assert c_index(predictions, "test") > 0.7  # a dozen patients: 0.79 over seeds, SD 0.08
    attention = read_attention(cohort / f"esat-{head}/attention.npz")
    for share in attention.values():  # a slide here is one region
        np.testing.assert_array_equal(share, np.full(16, share[0]))


def test_options_of_heads_reach_the_training(cohort):
    """Each changes what is learned; the name of the experiment, and so its seed, is the same."""
    keys = {**QUICK, "epochs": 3}
    risks = []
    for out, options in (
        ("plain", {}),
        ("ranked", {"ranking_weight": 1.0, "ranking_margin": 0.5}),
        ("legacy", {"legacy_loss": True}),
    ):
        where = f"options-{out}"
        predictions, _ = run(
            cohort, "cox", out=where, options={**SMALL, "head_options": options}, **keys
        )
        risks.append(predictions["risk"].to_numpy())
    predictions, _ = run(cohort, "cox", out="adamw", options=SMALL, optimiser="adamw", **keys)
    risks.append(predictions["risk"].to_numpy())
    for i, a in enumerate(risks):
        assert all(not np.array_equal(a, b) for b in risks[:i])


@pytest.mark.parametrize("head", head_names("survival"))
def test_the_same_bytes_again(cohort, head):
    keys = {**QUICK, "epochs": 8, "window": 10}
    for out in ("once", "again"):
        run(cohort, head, out=out, options=SMALL, **keys)
    for path in sorted((cohort / "once").iterdir()):
        assert path.read_bytes() == (cohort / "again" / path.name).read_bytes(), path.name
    run(cohort, head, out="other", options=SMALL, seed=8, **keys)
    weights = [cohort / out / "model.safetensors" for out in ("once", "other")]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_permuted_labels_teach_nothing(cohort):
    found = []
    for repeat in range(6):
        out = f"null{repeat}"
        predictions, _ = run(
            cohort, "cox", out=out, permute=repeat, options=SMALL, **{**QUICK, "epochs": 12}
        )
        found.append(c_index(predictions, "test"))
    assert np.mean(found) == pytest.approx(0.5, abs=0.17)
    labels = pd.read_csv(cohort / "patients.csv").set_index("patient_id")
    moved = labels.loc[predictions["patient_id"], "time"].to_numpy() != predictions["time"]
    assert moved.mean() > 0.8  # the table of predictions carries the labels that were trained on


def test_what_was_fitted_was_fitted_on_the_training_part(cohort):
    fold = pd.read_csv(cohort / "fold0.csv").set_index("patient_id")["part"]
    labels = pd.read_csv(cohort / "patients.csv").set_index("patient_id")
    train = fold[fold == "train"].index
    for head, key in (("adversarial", "t_ref"), ("nll", "edges")):
        run(cohort, head, out=f"fit-{head}", options=SMALL, **{**QUICK, "epochs": 7})
        made = yaml.safe_load((cohort / f"fit-{head}/config.yaml").read_text())
        expected = HEADS.find(head).fit(labels.loc[train, "time"], labels.loc[train, "event"])
        assert made["fitted"][key] == pytest.approx(expected[key])
        assert made["fitted"]["training_patients_sha256"] == patients_sha256(list(train))
        assert made["in_dim"] == 32
        assert str(cohort) not in (cohort / f"fit-{head}/config.yaml").read_text()


def test_the_test_part_is_not_touched_by_training(cohort, tmp_path):
    run(cohort, "adversarial", out="with", options=SMALL, **{**QUICK, "epochs": 7})
    fold = pd.read_csv(cohort / "fold0.csv")
    tests = set(fold.loc[fold["part"] == "test", "patient_id"])
    labels = pd.read_csv(cohort / "patients.csv")
    kept = (cohort / "patients.csv").read_text()
    labels.loc[labels["patient_id"].isin(tests), ["time", "event"]] = [1.0, 1]
    labels.to_csv(cohort / "patients.csv", index=False)
    run(cohort, "adversarial", out="without", options=SMALL, **{**QUICK, "epochs": 7})
    (cohort / "patients.csv").write_text(kept)
    for name in ("model.safetensors", "config.yaml", "history.csv"):
        assert (cohort / "with" / name).read_bytes() == (cohort / "without" / name).read_bytes()


def test_epochs_judge_the_validation_part_in_evaluation_mode_and_no_test_part(cohort, monkeypatch):
    """The traps: dropout or gradients while judging, and test patients looked at every epoch."""
    fold = pd.read_csv(cohort / "fold0.csv").set_index("patient_id")["part"]
    seen, forward = set(), Network.forward

    def spy(network, bag, noise):
        how = network.training, torch.is_grad_enabled()
        seen.update((fold[name], *how) for name in bag.ids)
        return forward(network, bag, noise)

    monkeypatch.setattr(Network, "forward", spy)
    monkeypatch.setattr(synthetic_cohort, "predict_fold", lambda **stored: None)
    with contextlib.suppress(FileNotFoundError):  # nothing was predicted
        run(cohort, "nll", out="judged", options=SMALL, **{**QUICK, "epochs": 2})
    assert seen == {("train", True, True), ("validation", False, False)}


def test_standardising_makes_the_scale_of_features_irrelevant(tmp_path):
    risks = []
    for scale in (1.0, 1024.0):  # a power of two: nothing is rounded differently
        cohort = write_cohort(tmp_path / str(scale), patients=24, patches=16, scale=scale)
        keys = {**QUICK, "epochs": 8}
        predictions, _ = run(cohort, "nll", options=SMALL, standardise=True, **keys)
        risks.append(predictions["risk"])
    np.testing.assert_allclose(risks[0], risks[1], rtol=1e-6)

    bags = BagFolder(cohort / "cohort.csv", cohort)
    ids = ["P000", "P001", "P002"]
    rows = np.concatenate([read_features(cohort / f"features/{i}-0.h5")[0] for i in ids])
    mean, scale = fit_scaling(bags, ids)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(scale, rows.std(0), rtol=1e-5)


def test_nobody_is_dropped_from_an_epoch():
    cox, nll = HEADS.find("cox"), HEADS.find("nll")
    for n in (1, 15, 16, 17, 33, 100):
        for head in (cox, nll):
            parts = windows(list(range(n)), 16, head)
            assert sorted(i for part in parts for i in part) == list(range(n))
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(sizes) <= 1
        assert max(map(len, windows(list(range(n)), 16, nll))) <= 16
        assert min(map(len, windows(list(range(n)), 16, cox))) >= min(n, 32)


def test_patients_without_slides_are_left_out_and_named(tmp_path, caplog):
    cohort = write_cohort(tmp_path, patients=24, patches=16)
    table = pd.read_csv(cohort / "cohort.csv")
    table[table["patient_id"] != "P005"].to_csv(cohort / "cohort.csv", index=False)
    with caplog.at_level(logging.INFO):
        predictions, _ = run(cohort, "cox", options=SMALL, **{**QUICK, "epochs": 6})
    assert "left out, without a usable slide: P005." in caplog.text
    assert len(predictions) == 23
    assert "epoch 1 of 6" in caplog.text
    assert "epoch 6 of 6" in caplog.text


def test_a_run_shorter_than_its_warm_up_keeps_the_last_epoch_and_says_so(cohort, caplog):
    _, history = run(cohort, "nll", out="short", options=SMALL, **{**QUICK, "epochs": 3})
    assert history["chosen"].tolist() == [0, 0, 1]
    assert "the last one is kept" in caplog.text


def test_mistakes_are_sentences(cohort):
    with pytest.raises(InputError, match=r"training has no key 'epoch'; did you mean epochs"):
        run(cohort, "cox", epoch=3)
    with pytest.raises(InputError, match="monitor is 'auc'; it must be loss or c_index"):
        run(cohort, "cox", monitor="auc")
    with pytest.raises(InputError, match="optimiser is 'sgd'; it must be adam or adamw"):
        run(cohort, "cox", optimiser="sgd")
    with pytest.raises(InputError, match="the loss became"):
        run(cohort, "nll", options=SMALL, **{**QUICK, "learning_rate": 1e18})


def test_the_c_index_can_choose_the_epoch(cohort):
    _, history = run(cohort, "cox", out="by-c", monitor="c_index", options=SMALL, **QUICK)
    eligible = history[history["epoch"] > 5]
    chosen = history[history["chosen"] == 1]["validation_c_index"].item()
    assert chosen == pytest.approx(eligible["validation_c_index"].max())


def test_regions_are_checked_before_training(tmp_path):
    cohort = write_cohort(tmp_path, patients=12, patches=20)
    with pytest.raises(InputError, match="20 patches are no multiple of 16"):
        run(cohort, "adversarial", options=SMALL, **QUICK)
    run(cohort, "cox", options=SMALL, **{**QUICK, "epochs": 6})
    with pytest.raises(InputError, match=r"model 'esat' reads regions.*or another model"):
        run(cohort, "cox", model="esat", **QUICK)


def test_a_model_of_regions_looks_at_test_patients_before_training(tmp_path):
    cohort = write_cohort(tmp_path, patients=12, patches=16)
    table, fold = pd.read_csv(cohort / "cohort.csv"), pd.read_csv(cohort / "fold0.csv")
    patient = fold.loc[fold["part"] == "test", "patient_id"].iloc[0]
    table["regions"] = np.where(table["patient_id"] == patient, "false", "true")
    table.to_csv(cohort / "cohort.csv", index=False)
    with pytest.raises(InputError, match=f"slide {patient}-0: every 16 rows .* are not"):
        run(cohort, "cox", model="esat", **QUICK)


def test_losses_of_an_epoch_are_recorded(cohort):
    _, history = run(cohort, "adversarial", out="d", options=SMALL, **{**QUICK, "epochs": 6})
    assert history["discriminator_loss"].notna().all()
    assert history["real_accuracy"].between(0, 1).all()
    _, history = run(cohort, "cox", out="d", options=SMALL, **{**QUICK, "epochs": 6})
    assert history["discriminator_loss"].isna().all()
    assert history["train_c_index"].between(0, 1).all()
    draws, _ = load_npz(cohort / "d/draws.npz")
    assert draws["draws"].shape == (60, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("head", head_names("survival"))
def test_a_gpu_learns_the_same(cohort, head):
    on = {
        device: run(cohort, head, out=device, options=SMALL, **{**QUICK, "device": device})[0]
        for device in ("cpu", "cuda")
    }
    for predictions in on.values():
        assert c_index(predictions, "test") > 0.8
    # dropout differs between devices, so only what was learned can agree
    assert on["cpu"]["risk"].corr(on["cuda"]["risk"], method="spearman") > 0.8
