"""Heads: embedding -> survival, class, grade or number, by name.

A new one is a file here, named as it is registered, and its options in the schema of the
configuration (``schemas/config.schema.yaml``: the list of names and its options).
"""

from typing import Any

from mil.registry import Registry

HEADS = Registry("head", __name__)
register = HEADS.register


def head_names(task: str | None = None) -> list[str]:
    """Return the names of all heads, or of those of a task (``mil.tasks``), sorted."""
    return [name for name in HEADS.names() if task in (None, HEADS.find(name).task)]


def build_head(name: str, width: int, fitted: dict[str, Any], **options: Any):
    """Build the head ``name`` on embeddings of ``width``, with what it fitted on training patients.

    Returns
    -------
    mil.heads.base.Head

    Raises
    ------
    mil.registry.UnknownNameError : no such head or option; the sentence names the nearest one.
    """
    return HEADS.build(name, width, fitted, **options)
