"""Robustness in the configuration: what is asked for, and a sentence for each mistake."""

from pathlib import Path

import pytest
import yaml

from mil.config import ConfigError, encoders, load_config
from mil.config_robustness import levels_of, perturbed_encoders, robustness_curves
from mil.seeds import seed_for

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "schemas/config.schema.yaml"
TWO = [
    {"name": "a", "model": "abmil", "head": "cox", "encoder": "vit_small"},
    {"name": "b", "model": "abmil", "head": "nll"},
]


def config(**robustness):
    raw = {"experiments": TWO, "encoders": {"vit_small": {"weights": "random"}}, "seed": 9}
    return load_config({**raw, "robustness": robustness}, SCHEMA)


def test_nothing_is_asked_for_by_default():
    default = load_config({}, SCHEMA)
    assert robustness_curves(default) == []
    assert perturbed_encoders(default) == {}
    unused = config(blur=["light"])  # of no experiment
    assert robustness_curves(unused) == []
    assert perturbed_encoders(unused) == {}


def test_the_ratios_are_those_of_the_specification():
    occlusion = load_config({}, SCHEMA)["robustness"]["occlusion"]
    assert occlusion["ratios"] == [i / 10 for i in range(1, 11)]  # and 0, which is always there
    assert occlusion["repeats"] == 5


@pytest.mark.parametrize(
    ("asked", "curves"),
    [
        ({}, ["occlusion-zero", "occlusion-discard"]),
        ({"occlusion": {"modes": ["discard"]}, "hed": ["light"]}, ["occlusion-discard", "hed"]),
        ({"occlusion": {"ratios": []}, "blur": ["strong"]}, ["blur"]),
        ({"occlusion": {"modes": []}}, []),
    ],
)
def test_every_curve_that_is_asked_for_is_drawn(asked, curves):
    assert robustness_curves(config(experiments=["b"], **asked)) == curves


def test_levels_are_in_their_order_whatever_was_typed():
    asked = config(experiments=["b"], blur=["strong", "lighter"])
    assert levels_of("blur", asked) == ["lighter", "strong"]


def test_only_encoders_of_the_experiments_see_changed_pixels():
    found = perturbed_encoders(config(experiments=["a"], blur=["strong", "light"], hed=["lighter"]))
    names = [f"vit_small@{name}" for name in ("blur-light", "blur-strong", "hed-lighter")]
    assert list(found) == names
    plain = encoders(config())["vit_small"]
    for name, settings in found.items():
        kind, level = name.partition("@")[2].split("-")
        seed = seed_for(9, "perturbation", kind, level)
        assert settings.pop("perturbation") == {"kind": kind, "level": level, "seed": seed}
        assert settings.pop("base") == "vit_small"
        assert settings == plain


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config(experiments=["b", "B"], occlusion={"ratios": [0.0, 1.5]}, blur=["heavy"])
    text = "\n".join(caught.value.problems)
    assert "robustness.occlusion.ratios" in text
    assert "robustness.blur" in text
    with pytest.raises(ConfigError, match=r"robustness.experiments\[1\] is B; it must be one of a"):
        config(experiments=["b", "B"])
    features = {"import": str(tmp_path), "layout": "clam", "encoder": "mine"}
    raw = {"features": features, "robustness": {"experiments": ["abmil-advmil"], "hed": ["light"]}}
    with pytest.raises(ConfigError, match=r"robustness.hed is \['light'\], but features.import"):
        load_config(raw, SCHEMA)


def test_the_example_of_the_docs_is_sound():
    text = (ROOT / "docs/robustness.md").read_text()
    example = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    experiments = yaml.safe_load((ROOT / "config.yaml").read_text())["experiments"]
    curves = robustness_curves(load_config({**example, "experiments": experiments}, SCHEMA))
    assert curves == ["occlusion-zero", "occlusion-discard", "blur", "hed"]
