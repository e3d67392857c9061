"""What can be set about semi-supervised training, with the defaults, and who can be trained so."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mil.problems import InputError, did_you_mean

MODES = ("UD+LD", "LD", "UD")


@dataclass(frozen=True)
class SemiSupervised:
    """Keys of ``semi_supervised`` of an experiment (Liu et al., AdvMIL, 2024).

    Attributes
    ----------
    labelled : training patients whose time and event are known: below 1 a share, otherwise a count.
    mode : ``UD+LD`` trains on the labelled and, in turn, on a part of the unlabelled; ``LD`` on the
        labelled alone (the control), ``UD`` on the unlabelled alone.
    kfold : parts of the unlabelled, one an epoch, of ``UD+LD``.
    """

    labelled: float = 0.6
    mode: str = "UD+LD"
    kfold: int = 5

    @classmethod
    def of(cls, experiment: Mapping[str, Any]) -> "SemiSupervised | None":
        """Return the settings of an experiment, None where all labels are used.

        Raises
        ------
        InputError : a key or a mode that does not exist.
        """
        given = experiment.get("semi_supervised")
        if given is None:
            return None
        known = [field.name for field in fields(cls)]
        problems = [
            f"experiment {experiment.get('name')!r}: semi_supervised has no key {key!r}"
            f"{did_you_mean(key, known) or '.'}"
            for key in given
            if key not in known
        ]
        if given.get("mode", cls.mode) not in MODES:
            problems.append(
                f"experiment {experiment.get('name')!r}: semi_supervised.mode is "
                f"{given['mode']!r}; it must be {' or '.join(MODES)}."
            )
        if problems:
            raise InputError(problems)
        return cls(**given)


def why_not_semi_supervised(experiment: Mapping[str, Any]) -> str | None:
    """Return what is in the way of an experiment's learning from unlabelled patients, if anything.

    They have no time to be fitted: they teach the discriminator, and through it the generator.
    """
    wanted = SemiSupervised.of(experiment)
    if wanted is None or wanted.mode == "LD":
        return None
    mend = "; unlabelled patients teach through a discriminator, so take {} or mode: LD."
    if experiment["head"] != "adversarial":
        return f"the head is {experiment['head']}{mend.format('head: adversarial')}"
    weight = (experiment.get("head_options") or {}).get("adversarial_weight")
    if weight == 0:
        what = "head_options: {adversarial_weight: 0.004}"
        return f"head_options.adversarial_weight is {weight}{mend.format(what)}"
    return None
