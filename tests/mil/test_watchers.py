"""What others see of a training: TensorBoard, Weights & Biases."""

import struct
import sys

import pytest
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


def records(path):
    """Yield the records of a .wandb file: LevelDB's log format behind seven bytes of W&B's own."""
    content, place, parts = path.read_bytes(), 7, []
    while place < len(content):
        left = 32768 - place % 32768
        if left < 7:  # of the block: no header fits, so it is padding
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        parts.append(content[place + 7 : place + 7 + size])
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def test_weights_and_biases_get_the_history(cohort, tmp_path):
    pytest.importorskip("wandb", reason="the package wandb is not installed; it is optional")
    from wandb.proto.wandb_internal_pb2 import Record

    asked = {"project": "mine", "mode": "offline", "folder": str(tmp_path)}
    _, history = run(cohort, "nll", out="wandb", options=SMALL, watched={"wandb": asked}, **KEYS)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    told = [
        (int(record.history.step.num), float(item.value_json))
        for record in map(Record.FromString, records(path))
        for item in record.history.item
        if "train_loss" in (item.key, *item.nested_key)
    ]
    assert [step for step, _ in told] == history["epoch"].tolist()
    losses = [loss for _, loss in told]
    assert losses == pytest.approx(history["train_loss"].tolist(), rel=1e-6)
    run(cohort, "nll", out="unwatched", options=SMALL, **KEYS)
    for name in OUTPUTS:
        assert (cohort / "wandb" / name).read_bytes() == (cohort / "unwatched" / name).read_bytes()
