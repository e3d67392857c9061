"""Metrics of labels as rows of ``metrics.csv``: one a fold, their mean, and pooled ones."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.fold_metrics import MEAN, joined, with_interval
from wsi.storage import atomic


@dataclass(frozen=True)
class LabelRow:
    """One number; NaN with a reason where it is undefined.

    ``low`` and ``high`` are the 95 % bootstrap interval, over patients; ``sd_over_folds`` is a
    spread. ``n`` counts patients or, where those are the units, slides.
    """

    metric: str
    fold: int | str
    value: float
    low: float = np.nan
    high: float = np.nan
    sd_over_folds: float = np.nan
    n: int = 0
    reason: str = ""


Measure = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]


def fold_rows(
    metric: str,
    measure: Measure,
    sizes: Sequence[int],
    everybody: int,
    counts: Sequence[NDArray[np.float64]],
    undefined: str,
) -> list[LabelRow]:
    """Return a metric of every fold and the mean over folds, with intervals.

    Parameters
    ----------
    metric : its name.
    measure : (place of the fold, counts [draws, n]) -> [draws].
    sizes : of the test parts.
    everybody : how many are tested, each once.
    counts : of the bootstrap draws of each fold.
    undefined : why the metric is NaN, where it is.
    """
    values = [float(measure(k, np.ones((1, n)))[0]) if n else np.nan for k, n in enumerate(sizes)]
    draws = np.stack([measure(k, own) for k, own in enumerate(counts)], axis=1)
    rows = [
        LabelRow(metric, k, value, n=n, reason="" if np.isfinite(value) else undefined)
        for k, (value, n) in enumerate(zip(values, sizes, strict=True))
    ]
    mean = LabelRow(
        metric,
        MEAN,
        float(np.mean(values)),
        sd_over_folds=float(np.std(values, ddof=1)) if len(values) > 1 else np.nan,
        n=everybody,
        reason=joined(*(f"fold {row.fold}: {row.reason}" for row in rows if row.reason)),
    )
    return [
        *(with_interval(row, draws[:, k]) for k, row in enumerate(rows)),
        with_interval(mean, draws.mean(axis=1)),
    ]


def write_label_metrics(path: str | Path, rows: Sequence[LabelRow]) -> None:
    """Write ``metrics.csv``."""
    with atomic(path) as partial:
        pd.DataFrame([asdict(row) for row in rows]).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
