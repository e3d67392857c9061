"""Models: bag -> embedding, by name. A file that registers a class is all a new one needs."""

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
