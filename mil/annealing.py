"""Weights of the terms of a model's loss that change while it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mil.problems import InputError, did_you_mean, listed

SCHEDULES = ("constant", "linear", "cyclical")


@dataclass(frozen=True)
class Annealing:
    """The weight of one term of the loss, step by step of the optimiser.

    ``constant`` is ``end`` throughout; ``linear`` goes from ``start`` to ``end`` in ``steps`` and
    stays there; ``cyclical`` does so in the first ``ramp`` of every ``steps``, has ``end`` in the
    rest of them and begins anew (Fu et al., NAACL 2019).

    Attributes
    ----------
    schedule : see above.
    start, end : weights; ``from`` and ``to`` in the configuration.
    steps : of the way, or of a cycle.
    ramp : share of a cycle in which the weight rises.
    warmup : first steps, at ``start``.
    """

    schedule: str = "linear"
    start: float = 0.0
    end: float = 1.0
    steps: int = 1000
    ramp: float = 0.5
    warmup: int = 0

    def weight(self, step: int) -> float:
        """Return the weight in a step, counted from 0."""
        if self.schedule == "constant":
            return self.end
        step = max(step - self.warmup, 0)
        way: float = self.steps
        if self.schedule == "cyclical":
            step, way = step % self.steps, self.ramp * self.steps
        return self.start + (self.end - self.start) * min(step / way, 1.0)


def annealings(
    given: Mapping[str, Mapping[str, Any]], model: str, terms: Sequence[str]
) -> dict[str, Annealing]:
    """Return the schedule of each term by its name.

    Parameters
    ----------
    given : ``training.annealing`` of an experiment.
    model : its model, for the sentences.
    terms : names of those that the model has.

    Raises
    ------
    mil.problems.InputError : a name that does not exist, or a number out of range.
    """
    problems = unknown_terms(given, model, terms)
    known = [{"start": "from", "end": "to"}.get(f.name, f.name) for f in fields(Annealing)]
    made = {}
    for name, keys in given.items():
        wrong = [key for key in keys if key not in known]
        problems += [
            f"training.annealing.{name} has no key {key!r}{did_you_mean(key, known) or '.'}"
            for key in wrong
        ]
        ours = {"from": "start", "to": "end"}
        if not wrong:
            one = made[name] = Annealing(**{ours.get(key, key): v for key, v in keys.items()})
            problems += [f"training.annealing.{name}.{told}" for told in _complaints(one)]
    if problems:
        raise InputError(problems)
    return made


def unknown_terms(given: Mapping[str, Any], model: str, terms: Sequence[str]) -> list[str]:
    """Return sentences on names that are no terms of the model's loss."""
    has = f"its terms are {listed(terms)}" if terms else "it has none"
    return [
        f"training.annealing has {name!r}, but model {model} has no such term of the loss; {has}"
        f"{did_you_mean(name, terms) or '.'}"
        for name in given
        if name not in terms
    ]


def _complaints(one: Annealing) -> list[str]:
    problems = []
    if one.schedule not in SCHEDULES:
        hint = did_you_mean(one.schedule, SCHEDULES) or "."
        problems.append(
            f"schedule is {one.schedule!r}{hint} It must be one of {', '.join(SCHEDULES)}."
        )
    if one.steps < 1:
        problems.append(f"steps is {one.steps}; it must be 1 or more.")
    if not 0 < one.ramp <= 1:
        problems.append(f"ramp is {one.ramp}; it must be above 0 and at most 1.")
    return problems
