"""Folds drawn by patient, balanced over strata: events and follow-up times, or labels."""

from collections.abc import Mapping, Sequence

import numpy as np

from mil.seeds import seed_for
from mil.tables import Patient

TERCILES = 3


def deal_folds(
    strata: Mapping[str, tuple], k: int, validation: float, repeats: int, seed: int
) -> list[dict[str, str]]:
    """Draw ``repeats`` times k folds; each patient is in one test part a repeat.

    The draw depends on the seed and the ids alone, not on the order of rows. Patients are shuffled
    within strata, the strata laid behind each other, and the line dealt out to the folds, so that
    sizes, and numbers of each stratum, differ by at most one between test parts.

    Parameters
    ----------
    strata : the stratum of each usable patient.
    k : folds.
    validation : share of the patients outside the test part.
    repeats : draws, each with a seed of its own.
    seed : the configuration's seed.

    Returns
    -------
    Part (``train``, ``validation``, ``test``) by patient id, for each fold.
    """
    folds = []
    for repeat in range(repeats):
        line = _line_up(strata, seed_for(seed, "folds", repeat))
        for fold in range(k):
            test = set(line[fold::k])
            rest = {name: strata[name] for name in strata if name not in test}
            inner = draw_validation(rest, validation, seed_for(seed, "validation", repeat, fold))
            folds.append(
                {
                    name: "test" if name not in rest else "validation" if name in inner else "train"
                    for name in line
                }
            )
    return folds


def strata_of(patients: Sequence[Patient], stratify: str) -> dict[str, tuple]:
    """Return the stratum of each patient: event, then tercile of time among those alike.

    Parameters
    ----------
    stratify : ``event``, or ``none`` for one stratum of all.
    """
    strata: dict[str, tuple] = {}
    for event in (1, 0):
        alike = sorted(
            (p for p in patients if p.event == event), key=lambda p: (p.time, p.patient_id)
        )
        for rank, patient in enumerate(alike):
            tercile = rank * TERCILES // len(alike)
            strata[patient.patient_id] = (1 - event, tercile) if stratify == "event" else ()
    return dict(sorted(strata.items()))


def _line_up(strata: Mapping[str, tuple], seed: int) -> list[str]:
    """Return the ids with the strata one behind the other, in random order inside each."""
    names = sorted(strata)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    return sorted((names[index] for index in shuffled), key=strata.__getitem__)


def draw_validation(strata: Mapping[str, tuple], share: float, seed: int) -> set[str]:
    """Draw a share of patients, as evenly over the strata as whole numbers allow."""
    line = _line_up(strata, seed)
    wanted = max(1, round(share * len(line)))
    return {line[int((place + 0.5) * len(line) / wanted)] for place in range(wanted)}
