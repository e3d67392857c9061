"""The configuration: defaults filled in, every mistake named in one go, views for the stages."""

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mil.annealing import unknown_terms
from mil.config_encoders import check_encoders, encoder_settings
from mil.config_predict import check_predict
from mil.config_presets import check_presets, with_presets
from mil.config_robustness import check_robustness
from mil.config_task import check_task, task_settings
from mil.experiment_grid import WrittenOut, in_users_words, members, write_out
from mil.problems import InputError, did_you_mean, listed
from mil.rate_schedules import schedule_problems
from mil.schema_sentences import resolve, schema_problems
from mil.score_options import why_no_score
from mil.semi_supervised import SemiSupervised, why_not_semi_supervised

OURS = ("close_um", "min_area_mm2", "min_hole_mm2")  # tissue keys of our own segmentation
OF_RUNNING = ("device", "tensorboard", "wandb")  # of training: they decide no result
IN_A_YEAR = {"days": 365.25, "weeks": 52.18, "months": 12, "years": 1}
NOT_CLAM = (*OURS, "preset", "drop", "process_list")  # the others are CLAM's
LONGEST_NAME = 150  # of an experiment: it is a folder, and a part of others' names


class ConfigError(InputError):
    """The configuration cannot be used; the message has one sentence a line."""


def load_config(raw: Mapping[str, Any] | None, schema_path: str | Path) -> dict[str, Any]:
    """Return a copy of a configuration with all defaults filled in, checked.

    Parameters
    ----------
    raw : what the user's files and command line say, merged; None for an empty file.
    schema_path : ``schemas/config.schema.yaml``.

    Raises
    ------
    ConfigError
        With one sentence for each wrong key or value, after all of them have been looked at.
    """
    schema = read_schema(str(schema_path))
    config = copy.deepcopy(dict(raw or {}))
    if "experiments" in config:
        config["experiments"] = with_presets(config["experiments"], schema)
    problems, wrong = schema_problems(_whole(config, _written_out(config, schema)), schema)
    _fill_defaults(config, schema, schema)
    written = _written_out(config, schema)
    problems += check_config(_whole(config, written), schema, skip=wrong)
    if "experiments" not in wrong:
        problems += check_presets(written, schema)
    if problems:
        told = dict.fromkeys(in_users_words(problem, written) for problem in problems)
        raise ConfigError(f"config.yaml: {problem}" for problem in told)
    return _in_order(config)


@lru_cache
def read_schema(path: str) -> dict[str, Any]:
    """Read a JSON schema that is written in YAML."""
    return yaml.safe_load(Path(path).read_text())


def check_config(
    config: Mapping[str, Any], schema: dict[str, Any], skip: set[str] = frozenset()
) -> list[str]:
    """Return sentences on what JSON schema cannot say; `skip` names keys already found wrong.

    The experiments of the configuration are written out.
    """
    checks: list[tuple[set[str], Callable[[], Iterator[str]]]] = [
        ({"scale"}, lambda: _check_scale(config["scale"])),
        ({"tissue"}, lambda: _check_tissue(config["tissue"])),
        ({"patches"}, lambda: _check_patches(config["patches"])),
        ({"experiments"}, lambda: _check_names(config["experiments"])),
        ({"features"}, lambda: _check_import(config["features"])),
        ({"features", "encoders"}, lambda: check_encoders(config, schema)),
        ({"features", "encoders", "experiments"}, lambda: _check_choices(config)),
        ({"experiments"}, lambda: _check_semi_supervised(config["experiments"])),
        ({"experiments"}, lambda: _check_score(config["experiments"])),
        ({"graphs", "experiments"}, lambda: _check_edges(config)),
        ({"clusters", "experiments"}, lambda: _check_clusters(config, schema)),
        ({"experiments"}, lambda: _check_heads(config["experiments"], schema)),
        ({"training", "experiments"}, lambda: _check_annealing(config, schema)),
        ({"training", "experiments"}, lambda: _check_schedules(config)),
        ({"folds"}, lambda: _check_folds(config["folds"])),
        ({"slides", "patients", "predict", "experiments"}, lambda: check_predict(config)),
        ({"features", "experiments", "robustness"}, lambda: check_robustness(config)),
        (
            {"task", "label", "slides", "experiments", "training", "predict"},
            lambda: check_task(config),
        ),
    ]
    return [problem for keys, check in checks if not keys & skip for problem in check()]


def experiments(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of each experiment by name, grids and seeds written out.

    Each has ``name, model, head, encoder, model_options, head_options, semi_supervised``, the whole
    ``training`` without what decides no result (a model does not depend on who watched), and
    ``permute_labels``, which is None: labels are as they are; but for survival also ``task``. None
    without a slide table.
    """
    if not config["slides"]:  # nothing is trained
        return {}
    task = task_settings(config)
    entries = [member.entry for member in write_out(config["experiments"])]
    return {
        entry["name"]: {
            "name": entry["name"],
            "model": entry["model"],
            "head": entry["head"],
            "encoder": entry.get("encoder") or config["features"]["encoder"],
            "training": {
                key: value
                for key, value in _training(entry, config).items()
                if key not in OF_RUNNING
            },
            "model_options": dict(entry.get("model_options", {})),
            "head_options": dict(entry.get("head_options", {})),
            "semi_supervised": entry.get("semi_supervised"),
            "permute_labels": None,
            **({"task": task} if task else {}),
        }
        for entry in entries
    }


def running(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how the training jobs of each experiment run, by its name (``Running`` in training).

    Event files and what Weights & Biases write lie below ``logs/`` of the results.
    """
    logs = f"{config['results']}/logs"
    found = {}
    for member in write_out(config["experiments"]):
        training = _training(member.entry, config)
        found[member.entry["name"]] = {
            "device": training["device"],
            "tensorboard": f"{logs}/tensorboard" if training["tensorboard"] else None,
            "wandb": {**training["wandb"], "folder": logs},
        }
    return found


def _training(entry: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of ``training`` for an experiment, its own and the others."""
    own, usual = entry.get("training", {}), config["training"]
    return {**usual, **own, "wandb": {**usual["wandb"], **own.get("wandb", {})}}


def experiment_groups(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the experiments that differ by their seeds alone, by group."""
    groups: dict[str, list[str]] = {}
    for member in write_out(config["experiments"]):
        groups.setdefault(member.group, []).append(member.entry["name"])
    return groups


def encoders(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return architecture, weights and running options of each encoder that an experiment uses."""
    used = sorted({settings["encoder"] for settings in experiments(config).values()})
    return {name: encoder_settings(name, config) for name in used}


def tissue_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what segmentation depends on: the preset, and what of its parameters is set.

    Our own limits are always there: pen, folds and stain are looked for within our own tissue.
    """
    tissue = config["tissue"]
    chosen = {key: tissue[key] for key in ("preset", *OURS)}
    if tissue["preset"] != "default":
        chosen |= {k: v for k, v in tissue.items() if k not in NOT_CLAM and v is not None}
    return chosen


def horizons(config: Mapping[str, Any]) -> list[float]:
    """Return the times of the AUC in the unit of the patient table: 1, 3 and 5 years unless set."""
    given = config["evaluation"]["horizons"]
    return given or [years * IN_A_YEAR[config["unit"]] for years in (1, 3, 5)]


def fold_count(config: Mapping[str, Any]) -> int:
    """Return the number of fold files, numbered from 0 (``repeats`` x ``k``)."""
    return config["folds"]["k"] * config["folds"]["repeats"]


def fold_files(config: Mapping[str, Any]) -> list[str]:
    """Return the paths of the fixed folds, none if folds are drawn."""
    template = config["folds"]["files"]
    return [
        template.replace("{}", str(fold)) for fold in range(fold_count(config) if template else 0)
    ]


def _written_out(config: Mapping[str, Any], schema: dict[str, Any]) -> list[WrittenOut]:
    """Return the experiments written out, but for grids and seeds that the schema refuses."""
    entries = config.get("experiments")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return []
    known = schema["properties"]["experiments"]["items"]["properties"]
    shape = {"properties": {key: known[key] for key in ("grid", "seeds")}}
    written: list[WrittenOut] = []
    for position, entry in enumerate(entries):
        of_grid = {key: entry[key] for key in shape["properties"] if key in entry}
        if schema_problems(of_grid, shape)[0]:
            written.append(WrittenOut(entry, position, (), ""))
        else:
            written += members(position, entry)
    return written


def _whole(config: Mapping[str, Any], written: list[WrittenOut]) -> dict[str, Any]:
    """Return a configuration with its experiments written out."""
    return {**config, **({"experiments": [m.entry for m in written]} if written else {})}


def _in_order(value: Any) -> Any:
    """Sort the keys of every block: the order they are typed in must not re-run anything.

    But for grids: their order is that of the names and of the experiments.
    """
    if isinstance(value, dict):
        return {k: value[k] if k == "grid" else _in_order(value[k]) for k in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _fill_defaults(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Put defaults into blocks, in place; not into lists, whose items inherit from elsewhere."""
    schema = resolve(schema, root)
    if not isinstance(value, dict):
        return
    for key, inner in schema.get("properties", {}).items():
        if "default" in inner:
            value.setdefault(key, copy.deepcopy(inner["default"]))
        _fill_defaults(value.get(key), inner, root)
    if isinstance(inner := schema.get("additionalProperties"), dict):
        for entry in value.values():
            _fill_defaults(entry, inner, root)


def _check_scale(scale: Mapping[str, Any]) -> Iterator[str]:
    by, coarse, fine = scale["by"], scale["coarse"], scale["fine"]
    if by == "level":
        if coarse != int(coarse) or fine != int(fine) or coarse <= fine:
            yield (
                f"scale.coarse is {coarse} and scale.fine is {fine}; by level both must be whole "
                "numbers, coarse the larger (2 and 1)."
            )
    elif not math.isclose(coarse, 4 * fine, rel_tol=1e-9):
        yield (
            f"scale.coarse is {coarse} and scale.fine is {fine}; coarse must be 4 x fine "
            f"({4 * fine:g}), since one coarse patch holds 4 x 4 fine ones."
        )
    elif by == "downsample" and fine < 1:
        yield f"scale.fine is {fine}; by downsample it must be at least 1, the slide's own pixels."


def _check_tissue(tissue: Mapping[str, Any]) -> Iterator[str]:
    if tissue["preset"] != "default":
        return
    for key, value in tissue.items():
        if key not in NOT_CLAM and value is not None:
            yield (
                f"tissue.{key} is {value}, but belongs to CLAM's segmentation; choose a preset of "
                "it (tissue.preset: clam, bwh_biopsy, bwh_resection, tcga) or take the key away."
            )
    if tissue["process_list"]:
        yield "tissue.process_list needs one of CLAM's presets (tissue.preset: clam)."


def _check_patches(patches: Mapping[str, Any]) -> Iterator[str]:
    step = patches["step"]
    if patches["grid"] == "slide" and step is not None and step < patches["size"]:
        yield (
            f"patches.step is {step} with patches of {patches['size']}; on one grid a slide they "
            "may not overlap, so it must be at least the size (or grid: contour)."
        )


def _check_names(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for position, entry in enumerate(entries):
        # Folders of some systems do not tell capitals from small letters.
        first = seen.setdefault(entry["name"].casefold(), position)
        if first != position:
            yield (
                f"experiments[{position}].name is {entry['name']}, as experiments[{first}]; "
                "give each experiment a name of its own."
            )
        if len(entry["name"]) > LONGEST_NAME:
            yield (
                f"experiments[{position}].name is {entry['name']}, {len(entry['name'])} characters "
                f"long; it names a folder and may have {LONGEST_NAME}. Shorten it or its grid."
            )
        if re.search(r"\.permuted\d+$", entry["name"]):
            yield (
                f"experiments[{position}].name is {entry['name']}; names that end like this belong "
                "to the target null."
            )


def _check_import(features: Mapping[str, Any]) -> Iterator[str]:
    folder, layout = features["import"], features["layout"]
    if folder and not layout:
        yield (
            f"features.import is {folder}, but features.layout is empty; say whose layout the "
            "folder has: clam, trident or stamp."
        )
    if layout and not folder:
        yield (
            f"features.layout is {layout}, but features.import is empty; give the folder of the "
            "features, or take layout away to have them made here."
        )
    if folder and not Path(folder).is_dir():
        yield (
            f"features.import is {folder}; there is no such folder (relative to the working "
            "directory)."
        )


def _check_choices(config: Mapping[str, Any]) -> Iterator[str]:
    imported, chosen = config["features"]["import"], config["features"]["encoder"]
    known = [chosen] if imported else sorted({chosen, *config["encoders"]})
    others = "features.import gives no others" if imported else "add others under encoders"
    for position, entry in enumerate(config["experiments"]):
        name = entry.get("encoder")
        if name and name not in known:
            yield (
                f"experiments[{position}].encoder is {name}; it must be one of {listed(known)} "
                f"({others}){did_you_mean(name, known) or '.'}"
            )


def _check_semi_supervised(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    for position, entry in enumerate(entries):
        obstacle = why_not_semi_supervised(entry)
        if obstacle:
            mode = SemiSupervised.of(entry).mode
            yield f"experiments[{position}].semi_supervised.mode is {mode}, but {obstacle}"


def _check_score(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    for position, entry in enumerate(entries):
        obstacle = why_no_score(**entry.get("head_options", {}))
        if obstacle:
            yield f"experiments[{position}].head_options.norm is crps, but {obstacle}"


def _check_edges(config: Mapping[str, Any]) -> Iterator[str]:
    for position, entry in enumerate(config["experiments"]):
        edges = entry.get("model_options", {}).get("edge_agg")
        if edges == "latent" and not config["graphs"]["latent"]:
            yield (
                f"experiments[{position}].model_options.edge_agg is latent, but graphs.latent is "
                "false; set graphs: {latent: true}, or edge_agg: spatial."
            )


def _check_clusters(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    k = config["clusters"]["k"]
    known = schema["$defs"]["models"]["deepattnmisl"]["properties"]
    usual = {key: option["default"] for key, option in known.items()}
    for position, entry in enumerate(config["experiments"]):
        options = {**usual, **entry.get("model_options", {})}
        if entry["model"] != "deepattnmisl" or options["mask_empty"]:
            continue
        if options["clusters"] != k:
            yield (
                f"experiments[{position}].model_options.clusters is {options['clusters']}, but "
                f"clusters.k is {k}; without mask_empty they must be the same."
            )


def _check_heads(entries: list[Mapping[str, Any]], schema: Mapping[str, Any]) -> Iterator[str]:
    models = schema["$defs"]["models"]
    for position, entry in enumerate(entries):
        if entry["head"] == "adversarial" and models[entry["model"]].get("gives_outputs"):
            yield (
                f"experiments[{position}].head is adversarial, but model {entry['model']} gives "
                "outputs itself and leaves no layer for noise; take head: time, or a model that "
                "gives a vector (abmil)."
            )


def _check_annealing(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    models = schema["$defs"]["models"]
    for position, entry in enumerate(config["experiments"]):
        given, model = _training(entry, config), models[entry["model"]]
        terms = [*model.get("label_terms", []), *model.get("penalties", [])]
        for problem in unknown_terms(given["annealing"], entry["model"], terms):
            yield f"experiments[{position}]: {problem}"


def _check_schedules(config: Mapping[str, Any]) -> Iterator[str]:
    for position, entry in enumerate(config["experiments"]):
        for problem in schedule_problems(_training(entry, config)):
            yield f"experiments[{position}]: {problem}"


def _check_folds(folds: Mapping[str, Any]) -> Iterator[str]:
    if folds["files"] and folds["repeats"] > 1:
        yield f"folds.repeats is {folds['repeats']}; with folds.files it must be 1."
