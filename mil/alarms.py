"""Alarms on degenerate predictions, gathered over the folds of an experiment."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mil.fold_predictions import FoldPredictions
from wsi.storage import atomic

NEARLY_ALL = 0.99


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
