"""AdvMIL's ways to train in, each behind its name."""

import logging

import pandas as pd
import pytest
import torch
import yaml
from synthetic_cohort import run, write_cohort

from mil.bag_folder import BagFolder
from mil.heads import HEADS
from mil.labels import patients_sha256
from mil.network import build_network
from mil.problems import InputError
from mil.tasks import task_of
from mil.training.epoch import Validation
from mil.training.history import Epoch
from mil.training.settings import LEGACY, TrainingSettings
from mil.training.windows import windows

SMALL = {"model_options": {"hidden": 16, "out": 16}}
KEYS = {"epochs": 12, "warmup": 3, "validation_draws": 8, "draws": 4, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=48, patches=16)


def test_monitor_keeps_the_worst_c_index_and_halves_the_rate_as_it_rises(cohort):
    keys = {**KEYS, "monitor": "c_index", "plateau_patience": 2, "learning_rate": 3e-3}
    keys["epochs"] = 25
    kept = {}
    for legacy in ([], ["monitor"]):
        _, history = run(cohort, "cox", out="m", options=SMALL, legacy=legacy, **keys)
        value = history["validation_c_index"]
        eligible = value[history["epoch"] > 3]
        best = eligible.min() if legacy else eligible.max()
        kept[bool(legacy)] = value[history["chosen"] == 1].item()
        assert kept[bool(legacy)] == pytest.approx(best)
        # the schedule looks the same way: the first three epochs it was not content with
        bad, least = 0, float("inf")
        sign = 1 if legacy else -1
        for epoch, c in enumerate(value):
            threshold = 1e-4 * abs(least) if least < float("inf") else 0
            bad, least = (0, sign * c) if sign * c < least - threshold else (bad + 1, least)
            if bad > 2:
                assert history["learning_rate"].iloc[: epoch + 2].tolist()[-2:] == [3e-3, 1.5e-3]
                break
        else:
            pytest.fail("no plateau: the test shows nothing of the schedule")
    assert kept[True] < kept[False]


def test_drop_last_has_whole_windows_only(cohort):
    for head in ("nll", "cox"):
        found = windows(list(range(45)), 16, HEADS.find(head), drop_last=True)
        assert found == [list(range(16)), list(range(16, 32))]
    assert windows(list(range(15)), 16, HEADS.find("nll"), drop_last=True) == []
    weights = []
    for legacy in ([], ["drop_last"]):  # 24 training patients: 12 and 12, or 16
        run(cohort, "nll", out="w", options=SMALL, legacy=legacy, **KEYS)
        weights.append((cohort / "w/model.safetensors").read_bytes())
    assert weights[0] != weights[1]
    with pytest.raises(InputError, match="24 patients of an epoch fill no window of 30"):
        run(cohort, "nll", out="w", options=SMALL, legacy=["drop_last"], window=30, **KEYS)


@pytest.mark.parametrize("legacy", [[], ["fresh_noise"]])
def test_fresh_noise_changes_validation_from_epoch_to_epoch(cohort, legacy):
    torch.manual_seed(0)
    network = build_network({"model": "abmil", "head": "adversarial"}, 32, {"t_ref": 20.0}, False)
    part = pd.read_csv(cohort / "patients.csv").head(9)
    bags = BagFolder(cohort / "cohort.csv", cohort)
    settings = TrainingSettings(validation_draws=8, legacy=legacy)
    judge = Validation(network, bags, part, task_of(None), settings, 7, torch.device("cpu"))
    seen = []
    network.head.register_forward_hook(lambda head, inputs, output: seen.append(output.shape))
    losses = []
    for number in (1, 2):
        epoch = Epoch(number, 0.1)
        judge.measure(epoch)
        losses.append(epoch.validation_loss)
    assert (losses[0] == losses[1]) == (legacy == [])
    assert {shape[1] for shape in seen} == ({1} if legacy else {8})


@pytest.mark.parametrize(("head", "key"), [("time", "t_ref"), ("nll", "edges")])
def test_table_scale_is_that_of_all_patients(cohort, head, key):
    labels = pd.read_csv(cohort / "patients.csv")
    fold = pd.read_csv(cohort / "fold0.csv").set_index("patient_id")["part"]
    longest = labels["time"].idxmax()
    fold[labels.loc[longest, "patient_id"]] = "test"
    fold.reset_index().to_csv(cohort / "fold0.csv", index=False)
    made = {}
    for legacy in ([], ["table_scale"]):
        run(cohort, head, out="s", options=SMALL, legacy=legacy, **{**KEYS, "epochs": 1})
        made[bool(legacy)] = yaml.safe_load((cohort / "s/config.yaml").read_text())["fitted"]
    whole = HEADS.find(head).fit(labels["time"].to_numpy(), labels["event"].to_numpy())
    assert made[True][key] == pytest.approx(whole[key])
    assert made[False][key] != made[True][key]
    assert made[True]["all_patients_sha256"] == patients_sha256(labels["patient_id"].tolist())
    if head == "time":
        assert made[True]["t_ref"] == pytest.approx(labels["time"].max())


def test_log_and_model_say_which_were_on(cohort, caplog):
    caplog.set_level(logging.INFO)
    names = list(LEGACY)
    run(cohort, "nll", out="l", options=SMALL, legacy=names, **{**KEYS, "epochs": 4})
    for name in names:
        assert f"legacy, as AdvMIL's code does it: {LEGACY[name]}." in caplog.text
    made = yaml.safe_load((cohort / "l/config.yaml").read_text())
    assert made["experiment"]["training"]["legacy"] == names
    with pytest.raises(
        InputError, match=r"training.legacy has 'drop_lst'; .* did you mean drop_last"
    ):
        run(cohort, "nll", out="l", options=SMALL, legacy=["drop_lst"], **KEYS)
