"""The parts of a fold, and what is raised about folds."""

from mil.problems import InputError

PARTS = ("train", "validation", "test")


class FoldError(InputError):
    """The folds cannot be made or used; the message has one sentence a line."""
