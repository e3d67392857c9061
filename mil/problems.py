"""Mistakes of users, told together: one sentence a line, each naming the place and the mend."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 20


class InputError(ValueError):
    """What is wrong with what the user gave; ``problems`` holds every sentence."""

    is_sentence = True  # for the user as it stands: the command line shows no traceback

    def __init__(self, problems: Iterable[str]):
        self.problems = list(problems)
        shown = self.problems[:SHOWN]
        if len(self.problems) > SHOWN:
            shown.append(f"... and {len(self.problems) - SHOWN} more.")
        super().__init__("\n".join(shown))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the nearest known word, or an empty string."""
    words = {name.casefold(): name for name in sorted(known)}
    near = get_close_matches(str(word).casefold(), words, n=1)
    return f"; did you mean {words[near[0]]}?" if near else ""


def listed(names: Iterable[str], most: int = SHOWN) -> str:
    """Return names as text, ``a, b, c``; past `most` of them the rest is counted."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
