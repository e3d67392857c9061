"""Models: bag -> embedding, by name.

A new one is a file here, named as it is registered, and its options in the schema of the
configuration (``schemas/config.schema.yaml``: the list of names and its options).
"""

import inspect
from typing import Any

from mil.problems import did_you_mean
from mil.registry import Registry, UnknownNameError

MODELS = Registry("model", __name__)
register = MODELS.register


def model_names() -> list[str]:
    """Return the names of all models, sorted."""
    return MODELS.names()


def find_preset(name: str, preset: str):
    """Return the published form ``preset`` of the model ``name``.

    Returns
    -------
    mil.models.base.Preset

    Raises
    ------
    mil.registry.UnknownNameError : no such model or preset; the sentence names those there are.
    """
    presets = MODELS.find(name).presets
    if preset not in presets:
        hint = did_you_mean(preset, presets) or "."
        raise UnknownNameError(
            [
                f"model {name!r} has no preset {preset!r}{hint} "
                f"Known: {', '.join(presets) or 'none'}."
            ]
        )
    return presets[preset]


def build_model(
    name: str, in_dim: int, *, outputs: int = 1, preset: str | None = None, **options: Any
):
    """Build the model ``name`` for instances of width ``in_dim``.

    Parameters
    ----------
    outputs : number of outputs of the head, for models with a part for each.
    preset : a published form; ``options`` win over its own.

    Returns
    -------
    mil.models.base.BagModel

    Raises
    ------
    mil.registry.UnknownNameError : no such model, preset or option; the sentence names the nearest.
    """
    if preset is not None:
        options = {**find_preset(name, preset).options, **options}
    if "outputs" in inspect.signature(MODELS.find(name)).parameters:
        options["outputs"] = outputs
    return MODELS.build(name, in_dim, **options)
