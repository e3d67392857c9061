"""Robustness in the configuration: what is asked for, and what is wrong with it."""

from collections.abc import Iterator, Mapping
from typing import Any

from mil.config_encoders import encoder_settings
from mil.experiment_grid import write_out
from mil.problems import did_you_mean, listed
from mil.seeds import seed_for

OCCLUSION = "occlusion"
PIXELS = ("blur", "hed")  # each has levels, from the mildest to the worst
LEVELS = ("lighter", "light", "strong")


def check_robustness(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each mistake in ``robustness``."""
    asked = config["robustness"]
    known = [member.entry["name"] for member in write_out(config["experiments"])]
    for position, name in enumerate(asked["experiments"]):
        if name not in known:
            yield (
                f"robustness.experiments[{position}] is {name}; it must be one of {listed(known)}"
                f"{did_you_mean(name, known) or '.'}"
            )
    for kind in PIXELS:
        if asked[kind] and config["features"]["import"]:
            yield (
                f"robustness.{kind} is {asked[kind]}, but features.import brings features without "
                f"the encoder that changed pixels would need; take {kind} away."
            )


def robustness_curves(config: Mapping[str, Any]) -> list[str]:
    """Return the name of each figure: ``occlusion-zero``, ``occlusion-discard``, ``blur``, ``hed``.

    None where no experiment is asked for.
    """
    asked = config["robustness"]
    if not asked["experiments"]:
        return []
    modes = asked[OCCLUSION]["modes"] if asked[OCCLUSION]["ratios"] else []
    left_out = [f"{OCCLUSION}-{mode}" for mode in modes]
    return left_out + [kind for kind in PIXELS if asked[kind]]


def levels_of(kind: str, config: Mapping[str, Any]) -> list[str]:
    """Return the levels of ``blur`` or ``hed`` that are asked for, the mildest first."""
    return sorted(config["robustness"][kind], key=LEVELS.index)


def perturbed_name(encoder: str, kind: str, level: str) -> str:
    """Return the name of an encoder that sees changed pixels, which no other encoder can have."""
    return f"{encoder}@{kind}-{level}"


def perturbed_encoders(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the encoders that see changed pixels, by name.

    Each has the settings of the encoder it is, the name of that under ``base``, and what is done to
    patches under ``perturbation``: ``kind``, ``level`` and the ``seed`` of its draws.
    """
    asked = config["robustness"]
    used = {
        entry.get("encoder") or config["features"]["encoder"]
        for entry in (member.entry for member in write_out(config["experiments"]))
        if entry["name"] in asked["experiments"]
    }
    return {
        perturbed_name(base, kind, level): {
            **encoder_settings(base, config),
            "base": base,
            "perturbation": {
                "kind": kind,
                "level": level,
                "seed": seed_for(config["seed"], "perturbation", kind, level),
            },
        }
        for base in sorted(used)
        for kind in PIXELS
        for level in levels_of(kind, config)
    }
