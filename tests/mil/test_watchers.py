"""What others see of a training: TensorBoard, Weights & Biases."""

import sys

import pytest
import torch
from synthetic_cohort import run, write_cohort
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mil.problems import InputError
from mil.training import checkpoint
from mil.training.epoch import Validation

SMALL = {"model_options": {"hidden": 16, "out": 16}}
KEYS = {"epochs": 6, "warmup": 0, "validation_draws": 4, "draws": 4}
OUTPUTS = ("model.safetensors", "config.yaml", "history.csv", "predictions.csv")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=24, patches=16)


def scalars(folder):
    """Return step and value of every scalar, as TensorBoard shows them."""
    events = EventAccumulator(str(folder), {"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def expected(history):
    """Return what the columns of a history say, but for numbers that no head has."""
    shown = history.drop(columns=["epoch", "chosen"]).astype("float32")
    return {
        name: list(zip(history["epoch"].loc[column.index], column.tolist(), strict=True))
        for name in shown
        if len(column := shown[name].dropna())
    }


@pytest.mark.parametrize("head", ["adversarial", "nll"])
def test_event_files_hold_the_history_and_nothing_depends_on_them(cohort, tmp_path, head):
    run(cohort, head, out=f"alone-{head}", options=SMALL, **KEYS)
    watched = {"tensorboard": str(tmp_path)}
    for _ in range(2):  # the second training takes the place of the first
        _, history = run(cohort, head, out="out", options=SMALL, watched=watched, **KEYS)
    found = scalars(tmp_path / f"abmil-{head}/fold0")
    assert found.keys() == expected(history).keys()
    for name, values in expected(history).items():
        assert found[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]
    assert ("discriminator_loss" in found) == (head == "adversarial")
    for name in OUTPUTS:
        alone = (cohort / f"alone-{head}" / name).read_bytes()
        assert (cohort / "out" / name).read_bytes() == alone, name


def test_a_training_that_goes_on_is_one_curve(cohort, tmp_path, monkeypatch):
    """What the killed job told of an epoch behind its last checkpoint is taken back."""
    watched = {"tensorboard": str(tmp_path)}
    whole, saved = Validation.measure, checkpoint.Checkpoint.save

    def measure(self, epoch):
        if epoch.epoch == 5:
            raise KeyboardInterrupt
        return whole(self, epoch)

    def save(self, state):
        if len(state["epochs"]) == 2:
            saved(self, state)

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save)
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(Validation, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        run(cohort, "nll", out="died", options=SMALL, watched=watched, **KEYS)
    assert [step for step, _ in scalars(tmp_path / "abmil-nll/fold0")["train_loss"]] == [1, 2, 3, 4]
    monkeypatch.setattr(Validation, "measure", whole)
    _, history = run(cohort, "nll", out="died", options=SMALL, watched=watched, **KEYS)
    found = scalars(tmp_path / "abmil-nll/fold0")["train_loss"]
    assert [step for step, _ in found] == history["epoch"].tolist()


def test_weights_and_biases_that_are_not_installed_are_a_sentence(cohort, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    watched = {"wandb": {"project": "mine", "mode": "offline"}}
    with pytest.raises(InputError, match=r"project 'mine', but the package wandb is not installed"):
        run(cohort, "nll", options=SMALL, watched=watched, **KEYS)
    watched["wandb"]["project"] = None
    run(cohort, "nll", out="unwatched", options=SMALL, watched=watched, **{**KEYS, "epochs": 1})


def test_weights_and_biases_get_the_history(cohort, tmp_path):
    pytest.importorskip("wandb", reason="the package wandb is not installed; it is optional")
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    folder = {"project": "mine", "mode": "offline", "folder": str(tmp_path)}
    _, history = run(cohort, "nll", out="wandb", options=SMALL, watched={"wandb": folder}, **KEYS)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    store, losses = DataStore(), []
    store.open_for_scan(str(path))
    while data := store.scan_data():
        record = Record.FromString(data)
        losses += [
            float(item.value_json)
            for item in record.history.item
            if (item.key or ".".join(item.nested_key)) == "train_loss"
        ]
    assert losses == pytest.approx(history["train_loss"].tolist(), rel=1e-6)
    assert torch.tensor(losses).isfinite().all()
