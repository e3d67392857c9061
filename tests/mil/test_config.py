"""The configuration: defaults, and a sentence for each mistake."""

import copy
import inspect
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from mil.config import (
    ConfigError,
    encoders,
    experiments,
    fold_count,
    fold_files,
    load_config,
    running,
)
from mil.config_encoders import OF_NETWORK, OF_WEIGHTS, TORCHSCRIPT, WEIGHTS, WITH_NETWORK
from mil.config_presets import presets_of, with_presets
from mil.schema_sentences import schema_problems

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "schemas/config.schema.yaml"
DEMO = ROOT / "config.yaml"
DEMO_RAW = yaml.safe_load(DEMO.read_text())
schema = yaml.safe_load(SCHEMA.read_text())
BUILT_IN = (
    "resnet50, resnet50_full, resnet18, resnet34, densenet121, efficientnet_lite2, vit_small, "
    "vit_base, resnet50_barlow_twins, uni, uni2_h, conch_v1_5, virchow, virchow2, h_optimus_0, "
    "h_optimus_1, prov_gigapath, phikon_v2, hibou_b, hibou_l"
)


def properties(node, path=()):
    """Yield path and schema of every key that the schema knows."""
    if "$ref" in node:
        node = {**schema["$defs"][node["$ref"].rsplit("/", 1)[1]], **node}
    for key, inner in node.get("properties", {}).items():
        yield (*path, key), inner
        yield from properties(inner, (*path, key))
    if isinstance(node.get("additionalProperties"), dict):
        yield from properties(node["additionalProperties"], (*path, "*"))
    if isinstance(node.get("items"), dict):
        yield from properties(node["items"], (*path, 0))


KEYS = list(properties(schema))


def value_at(node, path):
    """Return what stands at `path`, None where there is no such place."""
    for key in path:
        if isinstance(node, list):
            node = node[key] if key < len(node) else None
        else:
            node = (node or {}).get(key)
    return node


def problems(raw):
    with pytest.raises(ConfigError) as caught:
        load_config(raw, SCHEMA)
    return caught.value.problems


def put(path, value):
    """Return a configuration that has `value` at `path` and is sound elsewhere."""
    raw = {"experiments": [{"name": "a", "model": "abmil", "head": "cox"}]}
    if path[:2] == ("predict", 0):
        raw["predict"] = [{"name": "b", "slides": "b.csv"}]
    node = raw
    for key, after in zip(path, (*path[1:], None), strict=True):
        key = "mine" if key == "*" else key
        if after is None:
            node[key] = value
        elif isinstance(node, list):
            node = node[key]
        else:
            node = node.setdefault(key, [] if after == 0 else {})
    return raw


def test_schema_is_a_schema():
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("path", "node"), KEYS, ids=[".".join(map(str, p)) for p, _ in KEYS])
def test_every_key_is_described_and_has_a_default(path, node):
    assert node["description"].strip().endswith(".")
    assert "default" in node or path[:2] in (("experiments", 0), ("predict", 0))


def test_every_block_refuses_unknown_keys():
    config = load_config(DEMO_RAW, SCHEMA)
    for path, node in KEYS:
        if "properties" in node or node.get("type") == "object" or "$ref" in node:
            *_, last = path
            if last in ("encoders", "annealing") or not isinstance(value_at(config, path), dict):
                continue
            raw = copy.deepcopy(DEMO_RAW)
            value_at(raw, path)["zzz"] = 1
            assert any("unknown key" in p and "zzz" in p for p in problems(raw)), path


def test_defaults_are_sound_and_complete():
    config = load_config(None, SCHEMA)
    for path, _ in KEYS:
        if "*" not in path and 0 not in path:
            node = config
            for key in path:
                node = node[key]
    assert config["scale"] == {
        "allow_upsample": False, "by": "mpp", "coarse": 4.0, "fine": 1.0
    }  # fmt: skip
    assert config["training"]["epochs"] == 300
    assert load_config(config, SCHEMA) == config


def test_raw_configuration_is_left_alone():
    raw = {"scale": {"by": "mpp"}}
    load_config(raw, SCHEMA)
    assert raw == {"scale": {"by": "mpp"}}


def test_demo_configuration_shows_every_key():
    raw = yaml.safe_load(DEMO.read_text())
    config = load_config(raw, SCHEMA)
    assert config == raw | {"experiments": config["experiments"]}, "a key is only a default"
    for path, _ in KEYS:
        if path[:2] == ("predict", 0):
            assert path[2] in re.search(r"# \{name: elsewhere,.*\}", DEMO.read_text())[0]
            continue
        if "*" in path or (0 in path and len(path) > 3):
            continue  # shown in a comment, or under training
        node = raw
        for key in path:
            node = node[key]


def test_demo_configuration_differs_from_the_defaults_where_it_must():
    raw, default = yaml.safe_load(DEMO.read_text()), load_config({}, SCHEMA)
    training = {"epochs", "patience", "standardise"}
    different = {key for key in raw if raw[key] != default[key]}
    assert different <= {
        "cohort", "note", "slides", "patients", "results", "permutations", "features", "training",
        "experiments",
    }  # fmt: skip
    assert {k for k, v in raw["training"].items() if v != default["training"][k]} <= training


def test_demo_comments_every_line_with_a_key():
    for line in DEMO.read_text().splitlines():
        key = line.split("#")[0].strip()
        assert not key or "#" in line or key.rstrip(":") in ("tissue", "patches", "features",
            "graphs", "clusters", "folds", "evaluation", "report"), line  # fmt: skip


@pytest.mark.parametrize(("path", "node"), KEYS, ids=[".".join(map(str, p)) for p, _ in KEYS])
def test_a_wrong_type_is_named(path, node):
    found = problems(put(path, [[]]) if node.get("type") != "array" else put(path, 3))
    named = "".join(f"[{k}]" if k == 0 else f".{'mine' if k == '*' else k}" for k in path)[1:]
    assert any(named in problem and "it must be" in problem for problem in found), found


PREDICT = {"name": "b", "slides": "b.csv"}
ALONE = {"slides": None, "patients": None}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (ALONE, "slides and patients are empty, and so is predict; there is nothing to do."),
        ({"slides": None, "predict": [PREDICT]}, "patients is patients.csv, but slides is empty"),
        (ALONE | {"predict": [PREDICT]}, "predict[0].models is empty, and without slides"),
        (
            {"predict": [PREDICT | {"models": "gone"}]},
            "predict[0].models is gone; there is no such folder",
        ),
        (
            {"results": "schemas", "predict": [PREDICT | {"models": str(SCHEMA.parent)}]},
            "the results of this run; leave it empty",
        ),
        (
            {"predict": [PREDICT, PREDICT | {"name": "B"}]},
            "predict[1].name is B, as predict[0]; give each cohort its own name.",
        ),
        (
            {"predict": [PREDICT | {"experiments": ["abmil-advmill"]}]},
            "predict[0].experiments names abmil-advmill; it must be among abmil-advmil; did you",
        ),
        ({"predict": [{"name": "b"}]}, "predict[0].slides is missing; it has no default."),
    ],
)
def test_a_mistake_in_what_is_predicted(raw, sentence, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert any(sentence in problem for problem in problems(raw)), problems(raw)


def test_without_a_slide_table_nothing_is_trained():
    entry = PREDICT | {"models": str(ROOT / "schemas")}
    config = load_config(ALONE | {"predict": [entry]}, SCHEMA)
    assert experiments(config) == {}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"tisue": {}}, "config.yaml: unknown key tisue; did you mean tissue?"),
        (
            {"training": {"epocs": 3}},
            "config.yaml: unknown key training.epocs; did you mean epochs?",
        ),
        (
            {"graphs": {"zzz": 3}},
            "config.yaml: unknown key graphs.zzz; the keys here are neighbours, latent, device.",
        ),
        (
            {"seed": "abc"},
            "config.yaml: seed is the text 'abc'; it must be a whole number, at least 0.",
        ),
        ({"strict": 1}, "config.yaml: strict is 1; it must be true or false."),
        ({"tissue": None}, "config.yaml: tissue is empty; it must be a block of keys."),
        (
            yaml.safe_load("training: {l1: 1e-5}"),
            "config.yaml: training.l1 is the text '1e-5'; it must be a number, at least 0 (it is "
            "read as text; write 0.00001).",
        ),
        (
            {"patches": {"min_tissue": 25}},
            "config.yaml: patches.min_tissue is 25; it must be a number, at least 0 and at most 1.",
        ),
        (
            {"patches": {"min_tissue": float("nan")}},
            "config.yaml: patches.min_tissue is nan; it must be a finite number.",
        ),
        (
            {"graphs": {"latent": False},
             "experiments": [{"name": "a", "model": "patchgcn", "head": "cox",
                              "model_options": {"edge_agg": "latent"}}]},
            "config.yaml: experiments[0].model_options.edge_agg is latent, but graphs.latent is "
            "false; set graphs: {latent: true}, or edge_agg: spatial.",
        ),
        (
            {"clusters": {"k": 10},
             "experiments": [{"name": "a", "model": "deepattnmisl", "head": "cox",
                              "model_options": {"mask_empty": False}}]},
            "config.yaml: experiments[0].model_options.clusters is 8, but clusters.k is 10; "
            "without mask_empty they must be the same.",
        ),
        (
            {"tissue": {"preset": "tgca"}},
            "config.yaml: tissue.preset is the text 'tgca'; it must be one of default, clam, "
            "bwh_biopsy, bwh_resection, tcga; did you mean tcga?",
        ),
        (
            {"tissue": {"sthresh": 15}},
            "config.yaml: tissue.sthresh is 15, but belongs to CLAM's segmentation; choose a "
            "preset of it (tissue.preset: clam, bwh_biopsy, bwh_resection, tcga) or take the key "
            "away.",
        ),
        (
            {"tissue": {"process_list": "list.csv"}},
            "config.yaml: tissue.process_list needs one of CLAM's presets (tissue.preset: clam).",
        ),
        (
            {"patches": {"step": 128}},
            "config.yaml: patches.step is 128 with patches of 256; on one grid a slide they may "
            "not overlap, so it must be at least the size (or grid: contour).",
        ),
        (
            {"features": {"weights": "imagnet"}},
            "config.yaml: features.weights is imagnet; there is no such file, and the words are "
            "hub, imagenet, imagenet-or-random, random; did you mean imagenet?",
        ),
        (
            {"features": {"encoder": "resnet5"}},
            f"config.yaml: features.encoder is resnet5; it must be one of {BUILT_IN}; did you mean "
            "resnet50?",
        ),
        (
            {"encoders": {"uni2": {"weights": "random"}}},
            "config.yaml: encoders.uni2 has no architecture; say which built-in encoder its "
            f"weights belong to: {BUILT_IN}; or timm:NAME, or torchscript; did you mean uni?",
        ),
        (
            {"encoders": {"a": {"architecture": "virchow3"}}},
            "config.yaml: encoders.a.architecture is the text 'virchow3'; it must be one of empty, "
            f"{BUILT_IN}, torchscript or timm:NAME for any model of timm; did you mean virchow?",
        ),
        (
            {"encoders": {"mine": {"architecture": "torchscript", "weights": "config.yaml",
                                   "width": 5}}},
            "config.yaml: encoders.mine has no input_size, mean, std; a TorchScript file does not "
            "say it, so the configuration must.",
        ),
        (
            {"encoders": {"conch": {"architecture": "conch_v1_5", "weights": "hub"}}},
            "config.yaml: encoders.conch.weights is hub; the network of conch_v1_5 comes with its "
            "weights, so it must be the path of a TorchScript file (docs/encoders.md).",
        ),
        (
            {"encoders": {"uni": {"weights": "hub", "width": 5}}},
            "config.yaml: encoders.uni.width is 5, but uni has its own; only architecture "
            "torchscript needs it.",
        ),
        (
            {"encoders": {"uni": {"weights": "hub", "std": [1, 2]}}},
            "config.yaml: encoders.uni.std is [1, 2]; it must be three numbers, of red, green and "
            "blue or empty.",
        ),
        (
            {"scale": {"coarse": 3.0}},
            "config.yaml: scale.coarse is 3.0 and scale.fine is 1.0; coarse must be 4 x fine (4), "
            "since one coarse patch holds 4 x 4 fine ones.",
        ),
        (
            {"scale": {"by": "level", "coarse": 1, "fine": 2}},
            "config.yaml: scale.coarse is 1 and scale.fine is 2; by level both must be whole "
            "numbers, coarse the larger (2 and 1).",
        ),
        (
            {"scale": {"by": "downsample", "coarse": 16}},
            "config.yaml: scale.fine is missing; it has no default here.",
        ),
        (
            {"folds": {"files": "splits/fold0.npz"}},
            "config.yaml: folds.files is the text 'splits/fold0.npz'; it must be a path that ends "
            "in .npz or .csv, with one {} for the number of the fold, or empty.",
        ),
        (
            {"folds": {"files": "fold{}.npz", "repeats": 2}},
            "config.yaml: folds.repeats is 2; with folds.files it must be 1.",
        ),
        (
            {"experiments": [{"name": "a", "model": "abmil", "head": "coxx"}]},
            "config.yaml: experiments[0].head is the text 'coxx'; it must be one of adversarial, "
            "classes, cox, nll, ordinal, regression, time; did you mean cox?",
        ),
        (
            {"experiments": [{"name": "a", "model": "abmil", "head": "adversarial",
                              "head_options": {"norm": "crps"}}]},
            "config.yaml: experiments[0].head_options.norm is crps, but training_draws is 1; it "
            "compares the draws of a patient, so take 2 or more (16 is good).",
        ),
        (
            {"experiments": [{"name": "a/b", "model": "abmil", "head": "cox"}]},
            "config.yaml: experiments[0].name is the text 'a/b'; it must be letters, digits, dots, "
            "dashes and underscores, beginning with a letter or a digit.",
        ),
        (
            {"experiments": [{"name": "a", "model": "abmil"}]},
            "config.yaml: experiments[0].head is missing; it has no default.",
        ),
        (
            {"experiments": [{"name": n, "model": "abmil", "head": "cox"} for n in ("a", "A")]},
            "config.yaml: experiments[1].name is A, as experiments[0]; give each experiment a name "
            "of its own.",
        ),
        (
            {"experiments": [{"name": "a", "model": "abmil", "head": "cox", "encoder": "uni"}]},
            "config.yaml: experiments[0].encoder is uni; it must be one of resnet50 (add others "
            "under encoders).",
        ),
        (
            {"experiments": [{"name": "a", "model": "abmil", "head": "cox",
                              "head_options": {"bins": 4}}]},
            "config.yaml: unknown key experiments[0].head_options.bins; the keys here are ties, "
            "dropout, ranking_weight, ranking_margin, legacy_loss.",
        ),
        (
            {"features": {"import": "."}},
            "config.yaml: features.import is ., but features.layout is empty; say whose layout the "
            "folder has: clam, trident or stamp.",
        ),
        (
            {"features": {"layout": "clam"}},
            "config.yaml: features.layout is clam, but features.import is empty; give the folder "
            "of the features, or take layout away to have them made here.",
        ),
        (
            {"features": {"import": "gone/there", "layout": "clam"}},
            "config.yaml: features.import is gone/there; there is no such folder (relative to the "
            "working directory).",
        ),
        (
            {"features": {"import": ".", "layout": "tridnt"}},
            "config.yaml: features.layout is the text 'tridnt'; it must be one of empty, clam, "
            "trident, stamp; did you mean trident?",
        ),
        (
            {"features": {"import": ".", "layout": "clam", "encoder": "uni.v1"}},
            "config.yaml: features.encoder is uni.v1: an encoder's name has letters, digits, "
            "dashes and underscores and is none of excluded_patients, patients.",
        ),
        (
            {"features": {"import": ".", "layout": "clam", "encoder": "uni"},
             "encoders": {"lite": {"architecture": "efficientnet_lite2"}},
             "experiments": [{"name": "a", "model": "abmil", "head": "cox", "encoder": "lite"}]},
            "config.yaml: experiments[0].encoder is lite; it must be one of uni (features.import "
            "gives no others).",
        ),
        (
            {"experiments": []},
            "config.yaml: experiments is []; it must be a list, not empty.",
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence(raw, sentence):
    assert problems(raw) == [sentence]


def test_all_mistakes_are_told_at_once():
    raw = {"tisue": {}, "seed": -1, "scale": {"coarse": 3.0}, "features": {"encoder": "x"}}
    assert len(problems(raw)) == 4


def test_what_decides_no_result_goes_its_own_way():
    config = load_config(
        {
            "results": "r",
            "training": {"device": "cpu", "wandb": {"project": "mine"}},
            "experiments": [
                {"name": "a", "model": "abmil", "head": "cox"},
                {"name": "b", "model": "abmil", "head": "nll",
                 "training": {"device": "cuda", "tensorboard": False, "wandb": {"mode": "online"}}},
            ],
        },
        SCHEMA,
    )  # fmt: skip
    assert running(config) == {
        "a": {"device": "cpu", "tensorboard": "r/logs/tensorboard",
              "wandb": {"project": "mine", "mode": "offline", "folder": "r/logs"}},
        "b": {"device": "cuda", "tensorboard": None,
              "wandb": {"project": "mine", "mode": "online", "folder": "r/logs"}},
    }  # fmt: skip
    for settings in experiments(config).values():
        assert not {"device", "tensorboard", "wandb"} & set(settings["training"])


def test_experiments_inherit_training():
    config = load_config(
        {
            "training": {"epochs": 7, "patience": 3},
            "encoders": {"lite": {"architecture": "efficientnet_lite2"}},
            "experiments": [
                {"name": "a", "model": "abmil", "head": "cox"},
                {"name": "b", "model": "abmil", "head": "nll", "encoder": "lite",
                 "training": {"epochs": 6}, "head_options": {"bins": 4}},
            ],
        },
        SCHEMA,
    )  # fmt: skip
    made = experiments(config)
    assert list(made) == ["a", "b"]
    assert (made["a"]["training"]["epochs"], made["b"]["training"]["epochs"]) == (7, 6)
    assert made["b"]["training"]["patience"] == 3
    assert made["b"]["training"]["draws"] == 200
    assert (made["a"]["encoder"], made["b"]["encoder"]) == ("resnet50", "lite")
    assert made["b"]["head_options"] == {"bins": 4}
    assert made["a"]["permute_labels"] is None
    assert set(encoders(config)) == {"resnet50", "lite"}
    assert encoders(config)["lite"] == {
        "architecture": "efficientnet_lite2", "weights": "imagenet", "declared": {},
        "batch_size": "auto", "precision": "auto", "device": "auto",
    }  # fmt: skip
    assert encoders(config)["resnet50"]["architecture"] == "resnet50"


def test_an_encoder_that_no_experiment_uses_is_not_run():
    config = load_config({"encoders": {"lite": {"architecture": "efficientnet_lite2"}}}, SCHEMA)
    assert list(encoders(config)) == ["resnet50"]


def test_fold_files():
    config = load_config({"folds": {"files": "s/nlst-fold{}.npz", "k": 3}}, SCHEMA)
    assert fold_files(config) == ["s/nlst-fold0.npz", "s/nlst-fold1.npz", "s/nlst-fold2.npz"]
    config = load_config({"folds": {"k": 3, "repeats": 2}}, SCHEMA)
    assert fold_count(config) == 6
    assert fold_files(config) == []


def test_what_a_user_says_of_an_encoder_goes_along(tmp_path):
    weights = tmp_path / "w.pt"
    weights.touch()
    given = {
        "architecture": "torchscript", "weights": str(weights), "width": 5, "input_size": 32,
        "mean": [0, 0, 0], "std": [1, 1, 1], "trained_on_tcga": False,
    }  # fmt: skip
    config = load_config({"encoders": {"mine": given}, "features": {"encoder": "mine"}}, SCHEMA)
    found = encoders(config)["mine"]
    assert found["architecture"] == "torchscript"
    assert found["declared"] == {
        "width": 5, "input_size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "trained_on_tcga": False,
    }  # fmt: skip


def test_the_example_of_the_docs_lacks_nothing_but_its_files():
    text = (ROOT / "docs/encoders.md").read_text()
    example = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert [sentence.split(";")[0] for sentence in problems(example)] == [
        "config.yaml: encoders.mine.weights is mine.pt",
        "config.yaml: encoders.uni.weights is weights/uni.bin",
    ]


def test_any_model_of_timm():
    architecture = "timm:vit_small_patch16_224.augreg_in21k"
    config = load_config(
        {"encoders": {"v": {"architecture": architecture}}, "features": {"encoder": "v"}}, SCHEMA
    )
    assert encoders(config)["v"]["architecture"] == architecture


def test_weights_may_be_a_file(tmp_path):
    weights = tmp_path / "w.pth"
    weights.touch()
    config = load_config({"features": {"weights": str(weights)}}, SCHEMA)
    assert encoders(config)["resnet50"]["weights"] == str(weights)


def test_imported_features_have_any_name():
    config = load_config(
        {
            "features": {
                "import": ".",
                "layout": "stamp",
                "encoder": "uni_v2",
                "weights": "gone.pth",
            }
        },
        SCHEMA,
    )
    assert list(encoders(config)) == ["uni_v2"]


def test_encoders_models_and_heads_of_the_schema_are_those_that_exist():
    from mil.heads import HEADS
    from mil.models import MODELS
    from wsi.encoders import ENCODERS
    from wsi.encoders.torchscript import DECLARED
    from wsi.weights import WORDS

    entry = schema["properties"]["encoders"]["additionalProperties"]["properties"]
    assert set(entry["architecture"]["anyOf"][0]["enum"]) == {None, "torchscript", *ENCODERS}
    alone = {name for name, encoder in ENCODERS.items() if encoder.build is None}
    assert {TORCHSCRIPT, *alone} == set(WITH_NETWORK)
    assert set(WEIGHTS) == set(WORDS)
    assert {*OF_NETWORK, *OF_WEIGHTS} < {*DECLARED}
    entry = schema["properties"]["experiments"]["items"]["properties"]
    assert entry["model"]["enum"] == MODELS.names()
    assert entry["head"]["enum"] == HEADS.names()


def test_options_of_the_schema_are_those_of_the_classes():
    from mil.heads import HEADS
    from mil.models import MODELS

    for registry, kind, given in ((MODELS, "models", 1), (HEADS, "heads", 2)):
        for name in registry.names():
            taken = list(inspect.signature(registry.find(name)).parameters.values())[given:]
            options = schema["$defs"][kind][name]["properties"]
            assert {p.name: p.default for p in taken if p.name != "outputs"} == {  # the head's
                key: option["default"] for key, option in options.items()
            }, name


def test_models_that_give_outputs_are_told_in_the_schema():
    from mil.models import MODELS

    for name in MODELS.names():
        told = schema["$defs"]["models"][name].get("gives_outputs", False)
        assert told == MODELS.find(name).gives_outputs, name


def test_noise_needs_a_layer():
    entry = {"name": "a", "model": "clam_mb", "head": "adversarial"}
    assert problems({"experiments": [entry]}) == [
        "config.yaml: experiments[0].head is adversarial, but model clam_mb gives outputs itself "
        "and leaves no layer for noise; take head: time, or a model that gives a vector (abmil)."
    ]


@pytest.mark.parametrize("terms", ["penalties", "label_terms"])
def test_terms_of_the_schema_are_those_of_the_models(terms):
    from mil.models import MODELS

    for name in MODELS.names():
        told = schema["$defs"]["models"][name].get(terms, [])
        assert tuple(told) == getattr(MODELS.find(name), terms), name


def test_presets_of_the_schema_are_those_of_the_models():
    from mil.models import MODELS

    for name in MODELS.names():
        known = {
            preset: {"model_options": dict(form.options), "training": dict(form.training)}
            for preset, form in MODELS.find(name).presets.items()
        }
        assert presets_of(name, schema) == known, name


EVERY_PRESET = [
    (model, preset) for model in schema["$defs"]["models"] for preset in presets_of(model, schema)
]


@pytest.mark.parametrize(("model", "preset"), EVERY_PRESET)
def test_a_preset_stands_for_options_and_training(model, preset):
    entry = {"name": "a", "model": model, "head": "cox", "preset": preset}
    config = load_config({"training": {"epochs": 7}, "experiments": [entry]}, SCHEMA)
    assert load_config(config, SCHEMA) == config
    made, form = experiments(config)["a"], schema["$defs"]["models"][model]["presets"][preset]
    assert made["model_options"] == form["model_options"]
    usual = {k: v for k, v in config["training"].items() if k in made["training"]}
    assert made["training"] == usual | form["training"]


def test_what_an_experiment_says_itself_wins_over_its_preset():
    config = load_config(
        {
            "experiments": [
                {"name": "a", "model": "abmil", "head": "cox", "preset": "paper",
                 "training": {"epochs": 3}, "model_options": {"hidden": 9},
                 "grid": {"model_options.attention": [5, 6]}},
                {"name": "b", "model": "abmil", "head": "cox", "preset": None},
            ]
        },
        SCHEMA,
    )  # fmt: skip
    made = experiments(config)
    assert list(made) == ["a.attention_5", "a.attention_6", "b"]
    assert made["a.attention_6"]["model_options"] == {
        "hidden": 9, "out": None, "attention": 6, "gated": False, "dropout": 0.0,
    }  # fmt: skip
    training = made["a.attention_6"]["training"]
    assert (training["epochs"], training["learning_rate"]) == (3, 5e-4)
    assert "preset" not in made["b"]
    assert made["b"]["model_options"] == {}


def test_a_preset_that_is_none_is_a_sentence():
    def told(**entry):
        raw = {"name": "a", "model": "abmil", "head": "cox"} | entry
        return problems({"experiments": [{"name": "b", "model": "abmil", "head": "nll"}, raw]})

    assert told(preset="papr") == [
        "config.yaml: experiments[1].preset is papr, but model abmil has paper, torchmil, wsi; "
        "did you mean paper?"
    ]
    assert told(preset="paper", model="esat") == [
        "config.yaml: experiments[1].preset is paper, but model esat has none."
    ]
    assert told(preset="paper", grid={"model": ["abmil", "dsmil"]}) == [
        "config.yaml: experiments[1].preset is paper, but its grid has several models; a preset is "
        "of one, so write an experiment for each."
    ]
    assert "it must be text or empty" in told(preset=3)[0]


def test_a_key_of_training_that_a_preset_makes_up_is_a_sentence():
    broken = copy.deepcopy(schema)
    broken["$defs"]["models"]["abmil"]["presets"]["paper"]["training"]["epoch"] = 3
    entries = [{"name": "a", "model": "abmil", "head": "cox", "preset": "paper"}]
    found, wrong = schema_problems({"experiments": with_presets(entries, broken)}, broken)
    assert found == ["unknown key experiments[0].training.epoch; did you mean epochs?"]
    assert wrong == {"experiments"}


def test_training_defaults_are_those_of_the_trainer():
    from mil.training.settings import TrainingSettings

    others = {"device": "auto", "tensorboard": True, "wandb": {"project": None, "mode": "offline"}}
    assert asdict(TrainingSettings()) | others == load_config({}, SCHEMA)["training"]


def test_the_order_of_keys_makes_no_difference():
    def backwards(value):
        return (
            {k: backwards(value[k]) for k in reversed(value)} if isinstance(value, dict) else value
        )

    raw = yaml.safe_load(DEMO.read_text())
    assert str(load_config(raw, SCHEMA)) == str(load_config(backwards(raw), SCHEMA))
