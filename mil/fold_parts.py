"""The parts of a fold, and what is raised about folds."""

from mil.problems import InputError

PARTS = ("train", "validation", "test")
SEEN = ("train", "validation")  # those that a model was trained or chosen on


class FoldError(InputError):
    """The folds cannot be made or used; the message has one sentence a line."""
