"""Fixed noise for evaluation: the same for a patient in every epoch and every run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mil.heads.base import Head
from mil.seeds import seed_for


def noise_bank(head: Head, patients: Sequence[str], draws: int, seed: int, purpose: str) -> Tensor:
    """Return noise [n, S, W] for the patients, each from a generator of its own.

    Parameters
    ----------
    head : says how wide the noise is and how it is distributed.
    patients : ids; a patient's noise does not depend on the others.
    draws : S, where the head uses noise at all.
    seed, purpose : what the generators are seeded with, besides the patient.
    """
    banks = []
    for patient in patients:
        generator = torch.Generator().manual_seed(seed_for(seed, purpose, patient))
        banks.append(head.noise(1, draws, generator))
    return torch.cat(banks)
