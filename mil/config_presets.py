"""Presets in the configuration: a published form of a model stands for its options and settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from mil.experiment_grid import WrittenOut
from mil.problems import did_you_mean, listed

BLOCKS = ("model_options", "training")


def with_presets(entries: Any, schema: Mapping[str, Any]) -> Any:
    """Return the experiments with what their presets stand for, in blocks of their own.

    What an entry says itself wins. Presets are those of the schema, so that nobody has to import
    the models to read a configuration. What is no entry, or names no preset of its model, is left
    for others to tell.
    """
    if not isinstance(entries, list):
        return entries
    return [_with_preset(entry, schema) for entry in entries]


def check_presets(written: Sequence[WrittenOut], schema: Mapping[str, Any]) -> list[str]:
    """Return sentences on presets that a model does not have, or that a grid makes ambiguous.

    Parameters
    ----------
    written : the experiments, grids written out.
    """
    problems = []
    for position, member in enumerate(written):
        entry, preset = member.entry, member.entry.get("preset")
        if preset is None:
            continue
        place = f"experiments[{position}].preset is {preset}"
        if "model" in member.varied:
            problems.append(
                f"{place}, but its grid has several models; a preset is of one, so write an "
                "experiment for each."
            )
            continue
        known = presets_of(entry.get("model"), schema)
        if preset not in known:
            has = f"has {listed(known)}" if known else "has none"
            hint = did_you_mean(preset, known) or "."
            problems.append(f"{place}, but model {entry.get('model')} {has}{hint}")
    return problems


def presets_of(model: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the presets of a model by name, each with ``model_options`` and ``training``."""
    models = schema["$defs"]["models"]
    return models.get(model, {}).get("presets", {}) if isinstance(model, str) else {}


def _with_preset(entry: Any, schema: Mapping[str, Any]) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("preset"), str):
        return entry
    form = presets_of(entry.get("model"), schema).get(entry["preset"], {})
    if "model" in (entry.get("grid") or {}):
        return entry
    entry = dict(entry)
    for block in BLOCKS:
        own = entry.get(block, {})
        if isinstance(own, dict) and form.get(block):
            entry[block] = {**form[block], **own}
    return entry
