"""Harrell's C beside the test parts: where labels of training patients were hidden."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mil.fold_metrics import MEAN, MetricRow
from mil.fold_predictions import FoldPredictions
from mil.survival.metrics.concordance import harrell_c


def part_rows(folds: Sequence[FoldPredictions]) -> list[MetricRow]:
    """Return C of labelled and unlabelled training patients and of the validation part, by fold.

    The evaluation sets of AdvMIL's semi-supervised runs, beside the test part. No intervals: folds
    share training patients. No rows where all training patients had labels.
    """
    if all(fold.unlabelled.empty for fold in folds):
        return []
    parts = {
        "labelled_train": "train",
        "unlabelled_train": "unlabelled",
        "validation": "validation",
    }
    return [
        row
        for name, part in parts.items()
        for row in _rows_of(f"c_index_{name}", [getattr(fold, part) for fold in folds])
    ]


def _rows_of(metric: str, parts: Sequence[pd.DataFrame]) -> list[MetricRow]:
    found = [harrell_c(part["time"], part["event"], part["risk"]) for part in parts]
    rows = [
        MetricRow(metric, k, c.value, n=c.n, events=c.events, pairs=c.pairs, reason=c.reason)
        for k, c in enumerate(found)
    ]
    values = np.array([row.value for row in rows])
    patients = pd.concat(parts).drop_duplicates("patient_id")
    undefined = "; ".join(f"fold {row.fold}: {row.reason}" for row in rows if row.reason)
    mean = MetricRow(
        metric, MEAN, float(values.mean()),
        sd_over_folds=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
        n=len(patients), events=int(patients["event"].sum()),
        pairs=sum(c.pairs for c in found), reason=undefined,
    )  # fmt: skip
    return [*rows, mean]
