"""Experiments written out: an entry with ``grid`` and ``seeds`` stands for many."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

Entry = dict[str, Any]


@dataclass(frozen=True)
class WrittenOut:
    """One experiment as if the user had written it out.

    Attributes
    ----------
    entry : its keys, without ``grid`` and ``seeds``.
    position : of the user's entry among the experiments.
    varied : dotted keys that come from its grid.
    group : its name without the seed: experiments of a group differ by their seeds alone.
    """

    entry: Entry
    position: int
    varied: tuple[str, ...]
    group: str


def write_out(entries: Sequence[Mapping[str, Any]]) -> list[WrittenOut]:
    """Write out all entries: the Cartesian product of each grid in file order, seeds innermost.

    A member is named after what is its own, ``abmil-advmil.noise_0-1.seed_1``: the last part of
    each key of the grid (the whole key where two end alike) with its value, then the seed. Draws
    are seeded by name, so each member has draws of its own.

    Parameters
    ----------
    entries : with ``grid``, values by dotted key, and ``seeds``, a count (seeds 1 to N) or a list;
        both of the shape that the schema of the configuration asks for.
    """
    return [member for position, entry in enumerate(entries) for member in members(position, entry)]


def members(position: int, entry: Mapping[str, Any]) -> Iterator[WrittenOut]:
    """Write out one entry."""
    grid, seeds = entry.get("grid") or {}, entry.get("seeds")
    if seeds is None:
        seeds = [None]
    elif not isinstance(seeds, list):
        seeds = range(1, seeds + 1)
    ends = [key.rpartition(".")[2] for key in grid]
    labels = [end if ends.count(end) == 1 else key for key, end in zip(grid, ends, strict=True)]
    for values in product(*grid.values()):
        cell = copy.deepcopy({k: v for k, v in entry.items() if k not in ("grid", "seeds")})
        for key, value in zip(grid, values, strict=True):
            _set(cell, key, value)
        own = [f"{label}_{_word(v)}" for label, v in zip(labels, values, strict=True)]
        group = ".".join([str(entry.get("name")), *own])
        for seed in seeds:
            member = copy.deepcopy(cell)
            if "name" in entry:  # a missing name is for the schema to tell
                member["name"] = group if seed is None else f"{group}.seed_{seed}"
            yield WrittenOut(member, position, tuple(grid), group)


def _set(entry: Entry, key: str, value: Any) -> None:
    """Set a dotted key; a block that is no block is left for the schema to tell."""
    *blocks, last = key.split(".")
    for block in blocks:
        if entry.get(block) is None:
            entry[block] = {}
        entry = entry[block]
        if not isinstance(entry, dict):
            return
    entry[last] = value


def _word(value: Any) -> str:
    """Return a value as part of a name: what a folder's name cannot have becomes a dash."""
    text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


def in_users_words(sentence: str, written: Sequence[WrittenOut]) -> str:
    """Return a sentence on written-out experiments with the user's own positions and keys.

    ``experiments[5].head_options.noise`` is ``experiments[1].grid.head_options.noise`` if it was
    the grid of the user's entry 1 that set it.
    """
    if not written:
        return sentence

    def users(found: re.Match) -> str:
        member = written[int(found[1])]
        key = found[2].removeprefix(".")
        inside = ".grid" if key in member.varied else ""
        return f"experiments[{member.position}]{inside}{found[2]}"

    return re.sub(r"experiments\[(\d+)\]((?:\.\w+)*)", users, sentence)
