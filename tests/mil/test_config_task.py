"""The task of a configuration and its label: what fits, and the sentence where it does not."""

from pathlib import Path

import pytest
import yaml

from mil.config import ConfigError, experiments, load_config
from mil.config_task import task_settings
from mil.heads import HEADS as REGISTERED
from mil.heads import head_names
from mil.tasks import FIGURES, HEADS, SCORES, task_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "schemas/config.schema.yaml"
ONE = [{"name": "a", "model": "abmil", "head": "classes"}]
GRADE = {"columns": ["grade"], "classes": ["low", "high"]}


def loaded(**raw):
    return load_config({"experiments": ONE, **raw}, SCHEMA)


def problems(**raw):
    with pytest.raises(ConfigError) as caught:
        loaded(**raw)
    return [problem.removeprefix("config.yaml: ") for problem in caught.value.problems]


def test_survival_has_no_task_in_its_experiments():
    config = load_config({}, SCHEMA)
    assert task_settings(config) is None
    assert "task" not in experiments(config)["abmil-advmil"]


def test_an_experiment_carries_its_task():
    config = loaded(task="classification", label={"columns": ["isup"], "classes": [1, 2, "3"]})
    task = {"name": "classification", "columns": ["isup"], "classes": ["1", "2", "3"],
            "unit": "patient"}  # fmt: skip
    assert experiments(config)["a"]["task"] == task
    several = loaded(task="classification", label={"columns": ["braf", "kras"], "unit": "slide"})
    assert task_settings(several)["classes"] == ["0", "1"]
    assert task_settings(several)["unit"] == "slide"


def test_every_head_belongs_to_a_task():
    assert {name for heads in HEADS.values() for name in heads} == set(head_names())
    for task, heads in HEADS.items():
        assert heads[0] in head_names(task), "the task's own head comes first"
        for name in heads:
            assert task == "ordinal" or REGISTERED.find(name).task == task
        settings = {"name": task, "columns": ["a"], "classes": ["0", "1"], "unit": "patient"}
        found = task_of(None if task == "survival" else settings)
        assert (found.name, found.score) == (task, SCORES[task])
        assert task == "survival" or FIGURES[task]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"task": "classification"},
            "label.columns is empty; task classification needs the column of the label (label: "
            "{columns: [grade], classes: [low, high]}).",
        ),
        (
            {"task": "classification", "label": {"columns": ["grade"]}},
            "label.classes is empty; list the values of the label column, two at least (label: "
            "{columns: [grade], classes: [low, high]}): of two the second is positive.",
        ),
        (
            {"task": "classification", "label": {**GRADE, "classes": ["low", "low"]}},
            "label.classes is low, low; each class must be named once.",
        ),
        (
            {"task": "classification", "label": {**GRADE, "classes": ["low", False]}},
            "label.classes[1] is false; it must be text (in quotes, if it is yes, no, true or "
            "false) or a whole number.",
        ),
        (
            {"task": "classification", "label": {**GRADE, "columns": ["part"]}},
            "label.columns is part; part is a column of ours, rename it.",
        ),
        (
            {"task": "ordinal", "label": {"columns": ["a", "b"]},
             "experiments": [{"name": "a", "model": "abmil", "head": "ordinal"}]},
            "label.columns is a, b; task ordinal has one column.",
        ),
        (
            {"task": "classification", "label": GRADE,
             "experiments": [{"name": "a", "model": "abmil", "head": "cox"}]},
            "experiments[0].head is cox, which is for task survival, but task is classification; "
            "its heads are classes.",
        ),
        (
            {"task": "classification", "label": GRADE, "training": {"monitor": "c_index"}},
            "experiments[0]: training.monitor is c_index, but task classification is scored by "
            "auroc; it must be loss or auroc.",
        ),
        (
            {"task": "classification", "label": {**GRADE, "unit": "slide"},
             "predict": [{"name": "b", "slides": "b.csv", "patients": "b_patients.csv"}]},
            "predict[0].patients is b_patients.csv, but label.unit is slide: labels are columns of "
            "its slide table; take patients away.",
        ),
        (
            {"label": GRADE, "experiments": [{"name": "a", "model": "abmil", "head": "cox"}]},
            "label.columns is grade, but task is survival, which reads time and event; set task: "
            "classification (or ordinal, regression), or take label away.",
        ),
        (
            {"task": "clasification", "label": GRADE},
            "task is the text 'clasification'; it must be one of survival, classification, "
            "ordinal, regression; did you mean classification?",
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence(raw, sentence):
    assert problems(**raw) == [sentence]


def test_labels_have_further_cohorts_and_damaged_patients_too():
    config = loaded(
        task="classification",
        label=GRADE,
        predict=[{"name": "b", "slides": "b.csv"}],
        robustness={"experiments": ["a"]},
    )
    assert config["robustness"]["experiments"] == ["a"]
    # where nothing is trained, the experiments of the schema do not matter
    alone = {"slides": None, "patients": None, "task": "classification", "label": GRADE}
    entry = {"name": "b", "slides": "b.csv", "models": "."}
    assert experiments(load_config({**alone, "predict": [entry]}, SCHEMA)) == {}


def test_the_second_demo_configuration_is_valid():
    raw = yaml.safe_load((ROOT / "config-classification.yaml").read_text())
    assert task_settings(load_config(raw, SCHEMA))["columns"] == ["pattern"]
