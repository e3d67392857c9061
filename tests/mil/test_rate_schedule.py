"""The learning rate over the epochs of a training."""

import logging
import math

import pytest
import torch
import yaml
from synthetic_cohort import run, write_cohort

from mil.config import ConfigError, load_config
from mil.models import find_preset
from mil.training.rate_schedule import advance, rate_schedule
from mil.training.settings import TrainingError, TrainingSettings

SCHEMA = "schemas/config.schema.yaml"


def rates(values=None, **keys):
    """Rates of the epochs of a training; one more shows what it ends at."""
    settings = TrainingSettings(**keys)
    layer = torch.nn.Linear(1, 1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=settings.learning_rate or 1.0)
    schedule = rate_schedule(optimiser, settings, higher=False)
    seen = []
    for epoch in range(settings.epochs + 1):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        advance(schedule, 1.0 if values is None else values[epoch])
    return seen


def test_a_constant_rate_stays():
    assert rates(schedule="constant", epochs=40) == [1.0] * 41


def test_a_cosine_ends_at_its_floor():
    found = rates(schedule="cosine", epochs=10, learning_rate=1e-3, cosine_floor=1e-5)
    half = [(1 + math.cos(math.pi * k / 10)) / 2 for k in range(11)]
    assert found == pytest.approx([1e-5 + (1e-3 - 1e-5) * h for h in half])


def test_steps_come_after_their_epochs():
    found = rates(schedule="steps", step_epochs=[2, 5], step_factor=0.5, epochs=6)
    assert found == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25])


def test_a_plateau_is_epochs_without_a_better_value():
    keys = {"plateau_patience": 2, "plateau_factor": 0.5}
    assert rates([3, 2, 2, 2, 2, 2, 1], epochs=6, **keys) == [1, 1, 1, 1, 1, 0.5, 0.5]
    unknown = [3, math.nan, math.nan, math.nan, math.nan, 3]
    assert rates(unknown, epochs=5, **keys) == [1] * 6


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("dsmil", {1: 1e-4, 26: (1e-4 + 5e-6) / 2, 51: 5e-6}),
        ("setmil", {1: 2e-4, 40: 2e-4, 41: 2e-5, 100: 2e-5}),
        ("gtp", {1: 1e-3, 20: 1e-3, 21: 1e-4, 100: 1e-4, 101: 1e-5}),
        ("dtfd", {1: 1e-4, 100: 1e-4, 101: 2e-5, 200: 2e-5}),
        ("camil", {1: 2e-4, 12: 2e-4, 13: 4e-5, 24: 8e-6}),  # values never better than the first
        ("transmil", {1: 2e-4, 200: 2e-4}),
        ("iib_mil", {1: 1e-5, 300: 1e-5}),
    ],
)
def test_published_rates(model, expected):
    found = rates(**find_preset(model, "paper").training)
    assert {epoch: found[epoch - 1] for epoch in expected} == pytest.approx(expected, rel=1e-6)


BAD = [
    ({"schedule": "steps"}, "training.schedule is steps, but training.step_epochs is empty"),
    ({"step_epochs": [3]}, r"step_epochs is \[3\], but training.schedule is plateau, which does"),
    (
        {"schedule": "cosine", "cosine_floor": 0.1, "learning_rate": 0.01},
        r"cosine_floor is 0.1, but the learning rate starts at 0.01; the floor must be below that",
    ),
]


@pytest.mark.parametrize(("keys", "sentence"), BAD)
def test_settings_that_make_no_schedule_are_sentences(keys, sentence):
    with pytest.raises(TrainingError, match=sentence):
        rates(**keys)
    entry = {"name": "a", "model": "abmil", "head": "cox", "training": keys}
    with pytest.raises(ConfigError, match=r"config.yaml: experiments\[0\]: .*" + sentence):
        load_config({"experiments": [entry]}, SCHEMA)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"schedule": "cosin"}, "training.schedule is the text 'cosin'; .* did you mean cosine"),
        ({"optimiser": "radan"}, "training.optimiser is the text 'radan'.* did you mean radam"),
        ({"betas": [0.9]}, r"training.betas is \[0.9\]; it must be two numbers, at least 0"),
        ({"betas": [0.9, 1.0]}, r"training.betas\[1\] is 1.0; it must be a number, .* below 1"),
        ({"clip_norm": 0}, "training.clip_norm is 0; it must be a number or empty, above 0"),
        ({"ema": 1}, "training.ema is 1; it must be a number, at least 0 and below 1"),
        ({"lookahead": -1}, "training.lookahead is -1; it must be a whole number, at least 0"),
        ({"step_epochs": [0]}, r"training.step_epochs\[0\] is 0; it must be a whole number"),
    ],
)
def test_values_out_of_range_are_sentences(keys, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config({"training": keys}, SCHEMA)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=24, slides=1, patches=16)


def test_the_history_tells_the_rate_of_every_epoch(cohort):
    keys = {"schedule": "steps", "step_epochs": [1, 3], "learning_rate": 1e-3, "epochs": 4}
    _, history = run(cohort, "cox", model="mean", out="rates", **keys)
    assert history["learning_rate"].tolist() == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])


def test_the_average_is_validated_and_stored(cohort, caplog):
    """What is predicted with the stored model has the loss that the history tells."""
    caplog.set_level(logging.INFO)
    keys = {"ema": 0.9, "epochs": 6, "warmup": 0, "learning_rate": 1e-2, "standardise": True}
    table, history = run(cohort, "time", model="mean", out="averaged", **keys)
    part = table[table["part"] == "validation"]
    seen = part["event"] == 1
    short = (part["time"] - part["predicted_time"]).clip(lower=0)
    error = (part["predicted_time"] - part["time"]).abs().where(seen, short).mean()
    scale = yaml.safe_load((cohort / "averaged/config.yaml").read_text())["fitted"]["t_ref"]
    told = history.loc[history["chosen"] == 1, "validation_loss"].item()
    assert error / scale == pytest.approx(told, rel=1e-4)
    _, plain = run(cohort, "time", model="mean", out="plain", **(keys | {"ema": 0.0}))
    assert plain["train_loss"].tolist() == history["train_loss"].tolist()  # learns as without
    apart = (plain["validation_loss"] - history["validation_loss"]).abs()
    assert apart[1:].min() > 1e-3  # the average starts behind the first step
