"""Experiments by grid and seeds: names, order, settings, and mistakes in the user's own words."""

from pathlib import Path

import pytest
import yaml

from mil.config import ConfigError, experiment_groups, experiments, load_config
from mil.experiment_grid import write_out

SCHEMA = Path(__file__).resolve().parents[2] / "schemas/config.schema.yaml"
BASE = {"name": "abmil-advmil", "model": "abmil", "head": "adversarial"}
GRID = """
  head_options.noise: [0-1, 1-1]
  training.learning_rate: [1.0e-4, 8.0e-5]
"""


def config(*entries, **others):
    return load_config({"experiments": [*entries], **others}, SCHEMA)


def problems(*entries):
    with pytest.raises(ConfigError) as caught:
        config(*entries)
    return [problem.removeprefix("config.yaml: ") for problem in caught.value.problems]


def test_a_grid_is_the_product_in_file_order_and_seeds_are_innermost():
    made = config({**BASE, "grid": yaml.safe_load(GRID), "seeds": 2})
    found = experiments(made)
    assert list(found) == [
        f"abmil-advmil.noise_{noise}.learning_rate_{rate}.seed_{seed}"
        for noise in ("0-1", "1-1")
        for rate in ("0.0001", "8e-05")
        for seed in (1, 2)
    ]
    one = found["abmil-advmil.noise_1-1.learning_rate_8e-05.seed_2"]
    assert one["head_options"] == {"noise": "1-1"}
    assert one["training"]["learning_rate"] == 8e-5
    assert one["name"] == "abmil-advmil.noise_1-1.learning_rate_8e-05.seed_2"
    assert "grid" not in one
    assert experiment_groups(made) == {
        f"abmil-advmil.noise_{noise}.learning_rate_{rate}": [
            f"abmil-advmil.noise_{noise}.learning_rate_{rate}.seed_{seed}" for seed in (1, 2)
        ]
        for noise in ("0-1", "1-1")
        for rate in ("0.0001", "8e-05")
    }
    assert load_config(made, SCHEMA) == made
    swapped = dict(reversed(yaml.safe_load(GRID).items()))
    names = list(experiments(config({**BASE, "grid": swapped})))
    assert names[1] == "abmil-advmil.learning_rate_0.0001.noise_1-1", "the file's order"


def test_a_member_has_the_settings_of_one_written_out():
    grid = {
        "model": ["abmil", "esat"],
        "semi_supervised.labelled": [0.2],
        "head_options.alpha": [0],
    }
    found = experiments(config({**BASE, "grid": grid}))
    alone = experiments(
        config(
            {"name": "abmil-advmil.model_esat.labelled_0.2.alpha_0", "model": "esat",
             "head": "adversarial", "semi_supervised": {"labelled": 0.2},
             "head_options": {"alpha": 0}}
        )
    )  # fmt: skip
    name = "abmil-advmil.model_esat.labelled_0.2.alpha_0"
    assert found[name] == alone[name]


def test_names_do_not_change_with_more_values_or_seeds():
    few = experiments(config({**BASE, "grid": {"training.epochs": [5]}, "seeds": 1}))
    more = experiments(config({**BASE, "grid": {"training.epochs": [3, 5]}, "seeds": [1, 42]}))
    (name,) = few
    assert few[name] == more[name]
    assert list(more)[-1] == "abmil-advmil.epochs_5.seed_42"


def test_keys_that_end_alike_are_whole_and_values_fit_into_folders():
    grid = {
        "model_options.dropout": [0.5],
        "head_options.dropout": [0.25],
        "semi_supervised.mode": ["UD+LD"],
        "training.standardise": [True],
        "training.learning_rate": [None],
    }
    (member,) = write_out([{**BASE, "grid": grid}])
    assert member.entry["name"] == (
        "abmil-advmil.model_options.dropout_0.5.head_options.dropout_0.25.mode_UD-LD"
        ".standardise_true.learning_rate_none"
    )


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        (
            {"grid": {"head_options.noise": ["0-1", "2"]}},
            "experiments[1].grid.head_options.noise is the text '2'; it must be zeros and ones "
            "joined by dashes, as 0-1.",
        ),
        (
            {"grid": {"head_options.nois": ["0-1", "1-1"]}, "seeds": 3},
            "unknown key experiments[1].grid.head_options.nois; did you mean noise?",
        ),
        (
            {"grid": yaml.safe_load("training.learning_rate: [1e-4]")},
            "experiments[1].grid.training.learning_rate is the text '1e-4'; it must be a number or "
            "empty, above 0 (it is read as text; write 0.0001).",
        ),
        (
            {"grid": {"heads_options.noise": ["0-1"]}},
            "a key under experiments[1].grid is the text 'heads_options.noise'; it must be model, "
            "head, encoder, or a key of training, model_options, head_options or semi_supervised, "
            "as training.learning_rate.",
        ),
        (
            {"grid": {"training.epochs": 5}},
            "experiments[1].grid.training.epochs is 5; it must be a list, not empty and without "
            "repeats.",
        ),
        (
            {"seeds": 0},
            "experiments[1].seeds is 0; it must be a whole number, at least 1, or a list of whole "
            "numbers without repeats or empty.",
        ),
        (
            {"grid": {"encoder": ["uni"]}},
            "experiments[1].grid.encoder is uni; it must be one of resnet50 (add others under "
            "encoders).",
        ),
        (
            {"semi_supervised": {}, "grid": {"head": ["adversarial", "cox"]}},
            "experiments[1].semi_supervised.mode is UD+LD, but the head is cox; unlabelled "
            "patients teach through a discriminator, so take head: adversarial or mode: LD.",
        ),
        (
            {"semi_supervised": {"labelled": 1.5}},
            "experiments[1].semi_supervised.labelled is 1.5; it must be a share above 0 and below "
            "1, or a whole number.",
        ),
        (
            {"name": "a.seed_2"},
            "experiments[1].name is a.seed_2, as experiments[0]; give each experiment a name of "
            "its own.",
        ),
        (
            {"grid": {"head_options.gamma": [0, 0.0]}},
            "experiments[1].grid.head_options.gamma is [0, 0.0]; it must be a list, not empty and "
            "without repeats.",
        ),
        (
            {"name": "x" * 140, "seeds": [123456]},
            f"experiments[1].name is {'x' * 140}.seed_123456, 152 characters long; it names a "
            "folder and may have 150. Shorten it or its grid.",
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence_with_the_users_own_key(own, sentence):
    assert problems({**BASE, "name": "a", "seeds": 2}, {**BASE, **own}) == [sentence]


def test_two_values_with_one_name_are_refused():
    found = problems({**BASE, "grid": {"head_options.noise": ["0-1"], "encoder": ["a.b", "a-b"]}},
                     {**BASE, "name": "Abmil-ADVMIL.noise_0-1.encoder_a-b"})  # fmt: skip
    assert any("as experiments[0]; give each experiment a name of its own" in p for p in found)


@pytest.mark.parametrize("page", ["experiments", "semi-supervised"])
def test_the_examples_of_the_docs_are_sound(page):
    text = (SCHEMA.parents[1] / f"docs/{page}.md").read_text()
    blocks = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    if page == "semi-supervised":  # the second goes on with the list of the first
        blocks = ["".join(blocks)]
    counts = [len(experiments(load_config(yaml.safe_load(block), SCHEMA))) for block in blocks]
    assert counts == {"experiments": [2, 15, 1, 12], "semi-supervised": [10]}[page]
