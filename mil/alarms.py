"""Alarms on degenerate predictions, gathered over the folds of an experiment."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.fold_predictions import FoldPredictions
from wsi.storage import atomic

NEARLY_ALL = 0.99
EVEN = 0.99
"""Share of the highest entropy above which attention says nothing of its instances."""


def discriminator_alarms(real_accuracy: float, fake_accuracy: float) -> list[str]:
    """Return sentences on a discriminator that teaches nothing; none where there is none (NaN).

    Parameters
    ----------
    real_accuracy, fake_accuracy : share of observed and of generated pairs that it knew.
    """
    found = []
    if min(real_accuracy, fake_accuracy) > NEARLY_ALL:
        found.append("the discriminator knows every pair: it teaches the generator little.")
    for known, other, one in (
        (real_accuracy, fake_accuracy, "generated"),
        (fake_accuracy, real_accuracy, "observed"),
    ):
        if known < 1 - NEARLY_ALL and other > NEARLY_ALL:
            found.append(
                f"the discriminator calls every pair {one}: it teaches the generator little."
            )
    return found


def evenness(attention: NDArray) -> float:
    """Return the entropy of a bag's attention [n], which sums to 1, over its highest, log n.

    It is 1 where all instances weigh the same; of a single instance there is none (NaN).
    """
    if len(attention) < 2:
        return np.nan
    seen = attention[attention > 0].astype(np.float64)
    return float(-(seen * np.log(seen)).sum() / np.log(len(attention)))


def collapse_alarms(bags: Sequence[float]) -> list[str]:
    """Return a sentence if the attention of more than half the bags, by `evenness`, is even."""
    even = np.array([value for value in bags if not np.isnan(value)]) > EVEN
    if not len(even) or even.mean() <= 0.5:
        return []
    return [
        f"the attention is the same everywhere in {even.mean():.0%} of the bags (entropy above "
        f"{EVEN} of its highest): read no heatmap from it. Let the instances learn first "
        "(training.annealing: bag), train longer, or with another seed."
    ]


def gather_alarms(folds: Sequence[FoldPredictions], histories: pd.DataFrame) -> pd.DataFrame:
    """Return fold and sentence of every alarm.

    Parameters
    ----------
    folds : with what prediction found on their test parts.
    histories : of all folds, with the discriminator's accuracy in the epoch that was kept.
    """
    rows = [(fold.fold, alarm) for fold in folds for alarm in fold.alarms]
    if {"real_accuracy", "fake_accuracy"} <= set(histories):
        for epoch in histories[histories["chosen"] == 1].itertuples():
            found = discriminator_alarms(epoch.real_accuracy, epoch.fake_accuracy)
            rows += [(epoch.fold, alarm) for alarm in found]
    return pd.DataFrame(sorted(rows), columns=["fold", "alarm"])


def write_alarms(path: str | Path, alarms: pd.DataFrame) -> None:
    """Write ``alarms.csv``."""
    with atomic(path) as partial:
        alarms.to_csv(partial, index=False, lineterminator="\n")
