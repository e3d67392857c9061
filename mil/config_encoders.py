"""The encoders of the configuration: what each is built from, and what is wrong with it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mil.problems import did_you_mean, listed

RESERVED = ("excluded_patients", "patients")  # files of results/cohort/ beside <encoder>.csv
WEIGHTS = ("hub", "imagenet", "imagenet-or-random", "random")
TORCHSCRIPT = "torchscript"
WITH_NETWORK = (TORCHSCRIPT, "conch_v1_5")  # whose network comes in the file of weights
NEEDED = ("width", "input_size", "mean", "std")  # what a file of TorchScript does not say
OF_NETWORK = (*NEEDED, "resize", "interpolation", "half")
OF_WEIGHTS = ("licence", "trained_on_tcga")


def encoder_settings(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return architecture, weights, what is declared of them, and running options."""
    features = config["features"]
    entry = config["encoders"].get(name, {"weights": features["weights"]})
    declared = (key for key in (*OF_NETWORK, *OF_WEIGHTS) if entry.get(key) is not None)
    return {
        "architecture": entry.get("architecture") or name,
        "weights": entry["weights"],
        "declared": {key: entry[key] for key in declared},
        **{key: features[key] for key in ("batch_size", "precision", "device")},
    }


def check_encoders(config: Mapping[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each mistake in ``features`` and ``encoders``."""
    entry = schema["properties"]["encoders"]["additionalProperties"]["properties"]
    built_in = [name for name in entry["architecture"]["anyOf"][0]["enum"] if name]
    named = [name for name in built_in if name != TORCHSCRIPT]
    chosen = config["features"]["encoder"]
    if config["features"]["import"]:
        yield from _check_label(f"features.encoder is {chosen}", chosen)
    elif chosen not in config["encoders"]:
        if chosen not in named:
            known = [*named, *sorted(config["encoders"])]
            yield (
                f"features.encoder is {chosen}; it must be one of {listed(known, 40)}"
                f"{did_you_mean(chosen, known) or '.'}"
            )
        yield from _check_weights("features", chosen, config["features"]["weights"])
    for name, given in sorted(config["encoders"].items()):
        place, architecture = f"encoders.{name}", given["architecture"] or name
        yield from _check_label(place, name)
        if not given["architecture"] and name not in named:
            yield (
                f"{place} has no architecture; say which built-in encoder its weights belong to: "
                f"{listed(named, 40)}; or timm:NAME, or torchscript"
                f"{did_you_mean(name, named) or '.'}"
            )
        yield from _check_weights(place, architecture, given["weights"])
        yield from _check_declared(place, architecture, given)


def _check_label(place: str, name: str) -> Iterator[str]:
    """Check a name that becomes a folder and a file of the results."""
    if name in RESERVED or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        yield (
            f"{place}: an encoder's name has letters, digits, dashes and underscores and is none "
            f"of {listed(RESERVED)}."
        )


def _check_weights(place: str, architecture: str, weights: str) -> Iterator[str]:
    if architecture in WITH_NETWORK and weights in WEIGHTS:
        yield (
            f"{place}.weights is {weights}; the network of {architecture} comes with its weights, "
            "so it must be the path of a TorchScript file (docs/encoders.md)."
        )
    elif weights not in WEIGHTS and not Path(weights).is_file():
        yield (
            f"{place}.weights is {weights}; there is no such file, and the words are "
            f"{listed(WEIGHTS)}{did_you_mean(weights, WEIGHTS) or '.'}"
        )


def _check_declared(place: str, architecture: str, given: Mapping[str, Any]) -> Iterator[str]:
    if architecture == TORCHSCRIPT:
        missing = [key for key in NEEDED if given[key] is None]
        if missing:
            yield (
                f"{place} has no {listed(missing)}; a TorchScript file does not say it, so the "
                "configuration must."
            )
        elif given["resize"] and given["resize"] < given["input_size"]:
            yield (
                f"{place}.resize is {given['resize']}; the centre of input_size "
                f"({given['input_size']}) is cut from it, so it must be at least as large."
            )
        return
    for key in OF_NETWORK:
        if given[key] is not None:
            yield (
                f"{place}.{key} is {given[key]}, but {architecture} has its own; only architecture "
                "torchscript needs it."
            )
