"""A training that is killed goes on where it was and ends with the same bytes."""

import json
import logging
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_cohort import run, write_cohort
from test_step import BAG, EVENT, TIME, stepper

from mil.heads import head_names
from mil.heads.base import Labels
from mil.training import checkpoint
from mil.training.checkpoint import Checkpoint
from mil.training.early_stopping import EarlyStopping
from mil.training.epoch import Validation
from mil.training.history import Epoch
from mil.training.rate_schedule import advance, rate_schedule
from mil.training.settings import TrainingSettings
from mil.training.state import TrainingState
from mil.training.store import copy_state

OUTPUTS = ("model.safetensors", "config.yaml", "history.csv")
SMALL = {"model_options": {"hidden": 16, "out": 16}}
SETTINGS = {"optimiser": "radam", "betas": [0.5, 0.9], "lookahead": 2, "clip_norm": 0.1, "ema": 0.9}
KEYS = {"epochs": 12, "warmup": 2, "validation_draws": 4, "draws": 4, "plateau_patience": 1}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=40, slides=1, patches=16)


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)


@pytest.fixture
def killed_in(monkeypatch):
    """A function that lets the next training die while it looks at the validation of an epoch."""

    def plan(number):
        def measure(self, epoch):
            if epoch.epoch == number:
                raise KeyboardInterrupt
            return whole(self, epoch)

        monkeypatch.setattr(Validation, "measure", measure)

    whole = Validation.measure
    yield plan
    monkeypatch.setattr(Validation, "measure", whole)


def outputs(folder):
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def state_of(s, **keys):
    keys = {"plateau_patience": 1, "plateau_factor": 0.1, **keys}
    schedule = rate_schedule(s.optimiser, TrainingSettings(**keys), higher=False)
    generators = [torch.Generator().manual_seed(i) for i in (3, 4)]
    return TrainingState(s, schedule, EarlyStopping(5, 0), *generators)


@pytest.mark.parametrize("precision", [torch.float32, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize("head", head_names("survival"))
@pytest.mark.parametrize(
    ("settings", "schedule", "rate"),
    [
        ({}, {}, 1e-4),  # on a plateau once
        (SETTINGS, {"schedule": "cosine", "epochs": 6, "cosine_floor": 1e-4}, 5.5e-4),
        (SETTINGS, {"schedule": "steps", "step_epochs": [2, 9]}, 1e-4),
    ],
    ids=["plateau", "cosine", "steps"],
)
def test_the_next_step_from_a_checkpoint_is_the_next_step(
    tmp_path, head, precision, settings, schedule, rate
):
    labels = Labels.of(TIME, EVENT)
    file = Checkpoint(tmp_path / "checkpoint", {"head": head})
    first, second = (
        state_of(stepper(head, precision=precision, settings=settings), **schedule)
        for _ in range(2)
    )
    for number in (1, 2, 3):
        first.stepper.step([BAG], labels)
        advance(first.schedule, 1.0)  # no better value
        first.stopping.improves(number, 2.0 - number)
        first.epochs.append(Epoch(number, 0.1, train_loss=1 / 3))
    first.kept = copy_state(first.stepper.network, first.stepper.discriminator)
    torch.randperm(5, generator=first.order)
    file.save(first.state_dict())

    records, orders = [], []
    for state in (first, second):
        if state is second:
            torch.manual_seed(99)  # of dropout: put back, like all else
            second.load_state_dict(file.load())
        records.append(state.stepper.step([BAG], labels))
        advance(state.schedule, 1.0)
        orders.append(torch.randperm(9, generator=state.order).tolist())
    assert orders[0] == orders[1]
    assert records[0].output.equal(records[1].output)
    assert repr({**vars(records[0]), "output": 0}) == repr({**vars(records[1]), "output": 0})
    one, other = (copy_state(s.stepper.network, s.stepper.discriminator) for s in (first, second))
    assert all(value.equal(other[name]) for name, value in one.items())
    assert any(not value.equal(first.kept[name]) for name, value in one.items()), "it did step"
    judged = (s.stepper.judged.state_dict() for s in (first, second))
    assert all(map(torch.equal, *(state.values() for state in judged)))
    rates = [[g["lr"] for g in s.stepper.optimiser.param_groups] for s in (first, second)]
    assert rates[0] == rates[1]
    assert file.load()["stepper"]["optimiser"]["param_groups"][0]["lr"] == pytest.approx(rate)
    for part in ("schedule", "stopping", "epochs"):
        assert str(second.state_dict()[part]) == str(first.state_dict()[part])


@pytest.mark.parametrize(
    ("head", "more"),
    [(head, {}) for head in head_names("survival")]
    + [("cox", {**SETTINGS, "schedule": "cosine"}), ("adversarial", SETTINGS)],
)
def test_a_training_that_died_ends_with_the_same_bytes(
    cohort, head, more, every_epoch, killed_in, caplog
):
    keys = KEYS | more
    run(cohort, head, out=f"whole-{head}", options=SMALL, **keys)
    caplog.set_level(logging.INFO)
    for number in (4, 9):
        killed_in(number)
        with pytest.raises(KeyboardInterrupt):
            run(cohort, head, out=f"died-{head}", options=SMALL, **keys)
    killed_in(None)
    run(cohort, head, out=f"died-{head}", options=SMALL, **keys)
    assert "it goes on behind epoch 3," in caplog.text
    assert "it goes on behind epoch 8," in caplog.text
    assert outputs(cohort / f"died-{head}") == outputs(cohort / f"whole-{head}")
    assert not (cohort / f"died-{head}/checkpoint").exists()


TRAIN = """
import json, sys
sys.path.insert(0, "tests/mil")
from synthetic_cohort import run
from mil.training import checkpoint
checkpoint.LEAST_SECONDS, checkpoint.SHARE = 0.0, 1e9
run(**json.loads(sys.argv[1]))
"""


@pytest.mark.timeout(300)
def test_killed_at_any_moment(cohort, caplog):
    """SIGKILL, also while a checkpoint is being written."""
    settings = {**KEYS, "epochs": 60, "patience": 60, "root": str(cohort), "head": "adversarial"}
    settings["options"] = SMALL
    run(**settings, out="never")
    moments = random.Random(1)
    state = cohort / "killed/checkpoint/state.pt"
    for _ in range(2):
        before = state.stat().st_mtime_ns if state.exists() else 0
        command = [sys.executable, "-c", TRAIN, json.dumps({**settings, "out": "killed"})]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        while not (state.exists() and state.stat().st_mtime_ns != before):
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    caplog.set_level(logging.INFO)
    run(**settings, out="killed")
    assert "it goes on behind epoch" in caplog.text
    assert outputs(cohort / "killed") == outputs(cohort / "never")
    assert not state.parent.exists(), "nothing is left, half a checkpoint neither"


def changed_table(cohort):
    path = cohort / "patients.csv"
    table = path.read_text()
    path.write_text(table.replace("\nP000,", "\nP000,1", 1))
    return lambda: path.write_text(table)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"learning_rate": 1e-3}, "is of other settings, data, code or another kind of machine"),
        ({"seed": 8}, "is of other settings"),
        ({"code": "other"}, "is of other settings"),
        ("table", "is of other settings"),
        ("bit", "is damaged; the training starts anew"),
        ("cut", "is damaged; the training starts anew"),
        ("empty", "is of other settings"),
    ],
)
def test_a_checkpoint_that_does_not_hold_is_ignored_and_said(
    cohort, every_epoch, killed_in, caplog, change, sentence
):
    folder = cohort / f"ignored-{change}"
    killed_in(3)
    with pytest.raises(KeyboardInterrupt):
        run(cohort, "nll", out=folder.name, options=SMALL, **KEYS)
    killed_in(None)
    caplog.set_level(logging.INFO)
    state = folder / "checkpoint/state.pt"
    content, keys, restore = bytearray(state.read_bytes()), dict(KEYS), lambda: None
    if change == "table":
        restore = changed_table(cohort)
    elif change == "bit":
        content[len(content) // 2] ^= 1
    elif change == "cut":
        content = content[:-100]
    elif change == "empty":
        content = b""
    else:
        keys |= change
    state.write_bytes(content)
    run(cohort, "nll", out=folder.name, options=SMALL, **keys)
    assert sentence in caplog.text
    assert "it goes on" not in caplog.text
    run(cohort, "nll", out="anew", options=SMALL, **keys)
    restore()
    assert outputs(folder) == outputs(cohort / "anew")


def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    file = Checkpoint(tmp_path / "checkpoint", {})

    def slow(*_):
        now[0] += 3.0

    monkeypatch.setattr(checkpoint.torch, "save", slow)
    assert not file.is_due
    now[0] = 10.0
    assert file.is_due
    file.save({})
    ended = now[0]
    now[0] = ended + 3.0 / 0.02 - 1
    assert not file.is_due
    now[0] += 1
    assert file.is_due
    assert np.isclose(3.0 / (now[0] - ended), 0.02)
