"""Leaving patches out of a bag: which, and how (specification advmil 11)."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mil.bags import Bag, select
from mil.seeds import seed_for

DIGITS = 9  # at which M (1 - ratio) is cut off: 10 (1 - 0.8) is 2, not 1.9999999999999996


def kept_rows(bag: Bag, ratio: float, size: int, seed: int, repeat: int) -> Tensor:
    """Return the rows of a bag of one patient that are kept, in their order.

    Of M units ``max(1, int(M (1 - ratio)))`` are kept, the first ones of a random order that
    depends on the patient and the repeat alone: every model sees the same, and what is left out at
    one ratio is left out at every higher one.

    Parameters
    ----------
    bag : of one patient, N rows.
    ratio : share of the units left out, 0 to 1.
    size : rows of a unit: 16, a region, or 1.
    seed, repeat : what the order is seeded with, besides the patient.
    """
    units = len(bag.features) // size
    random = np.random.default_rng(seed_for(seed, "occlusion", bag.ids[0], repeat))
    kept = max(1, int(round(units * (1 - ratio), DIGITS)))
    chosen = np.sort(random.permutation(units)[:kept])
    rows = chosen[:, None] * size + np.arange(size)
    return torch.from_numpy(rows.ravel()).to(bag.features.device)


def zeroed(bag: Bag, rows: Tensor) -> Bag:
    """Return the bag with zero features but in these rows; all else stays.

    They are zero before features are scaled: what is lost is what the encoder said, and models that
    scale features and models that do not see the same damage. Where features are standardised zero
    is therefore no average patch, which would be an imputation.
    """
    features = torch.zeros_like(bag.features)
    features[rows] = bag.features[rows]
    return replace(bag, features=features)


MODES = {"zero": zeroed, "discard": select}
