"""Models: bag -> embedding, by name.

A new one is a file here, named as it is registered, and its options in the schema of the
configuration (``schemas/config.schema.yaml``: the list of names and its options).
"""

from typing import Any

from mil.registry import Registry

MODELS = Registry("model", __name__)
register = MODELS.register


def model_names() -> list[str]:
    """Return the names of all models, sorted."""
    return MODELS.names()


def build_model(name: str, in_dim: int, **options: Any):
    """Build the model ``name`` for instances of width ``in_dim``.

    Returns
    -------
    mil.models.base.BagModel

    Raises
    ------
    mil.registry.UnknownNameError : no such model or option; the sentence names the nearest one.
    """
    return MODELS.build(name, in_dim, **options)
