"""C of every experiment against the strength of a perturbation, as a table and a figure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.config_robustness import LEVELS, PIXELS
from mil.figures import save_figure
from mil.fold_predictions import FoldPredictions, PredictionError, read_predictions
from mil.paired import paired_difference, shared_patients
from mil.problems import listed
from mil.robustness.figure import draw_curves
from mil.survival.metrics.bootstrap import bootstrap_concordance, percentile_interval
from mil.survival.metrics.concordance import harrell_c
from wsi.storage import atomic

UNTOUCHED = "none"

Repeats = Sequence[Sequence[FoldPredictions]]


@dataclass(frozen=True)
class CurvePoint:
    """A row of a curve's CSV: one experiment at one strength; NaN where undefined.

    ``c_index`` is the mean over folds of Harrell's C, averaged over ``repeats``; ``low`` and
    ``high`` are its 95 % bootstrap interval of patients inside folds. ``sd_over_repeats`` is a
    spread. ``difference`` is this experiment minus the first, on the patients that both have
    (``shared``) and the same draws.
    """

    experiment: str
    strength: float
    level: str
    repeats: int
    c_index: float
    low: float
    high: float
    sd_over_repeats: float
    n: int
    events: int
    unit: str
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    shared: int = 0
    reason: str = ""


def draw_robustness(
    *,
    curve: str,
    names: Sequence[str],
    predictions: Sequence[str | Path],
    damaged: Sequence[str | Path],
    table: str | Path,
    figure: str | Path,
    bootstrap: int,
    seed: int,
) -> None:
    """Write one curve of every experiment.

    Parameters
    ----------
    curve : ``occlusion-zero``, ``occlusion-discard``, ``blur`` or ``hed``.
    names : of the experiments; the others are compared with the first.
    predictions : ``predictions.csv`` of each fold of the first experiment, then of the next, ...:
        strength 0.
    damaged : what ``predict_occluded`` or ``predict_perturbed`` wrote, in the same order.
    table : output, CSV, a row a `CurvePoint`.
    figure : output, SVG.
    bootstrap : draws behind each interval.
    seed : of the configuration.

    Raises
    ------
    mil.problems.InputError : predictions that cannot be used, in sentences.
    """
    folds = len(predictions) // len(names)
    found = {}
    for number, name in enumerate(names):
        own = slice(number * folds, (number + 1) * folds)
        found[name] = dict(_levels(curve, read_predictions(predictions[own]), damaged[own]))
    first = found[names[0]]
    points = []
    for name, levels in found.items():
        for level, (repeats, unit) in levels.items():
            point = _point(name, curve, level, repeats, unit, bootstrap, seed)
            if name != names[0]:
                point = _against(point, repeats, first[level][0], bootstrap, seed)
            points.append(point)
    with atomic(table) as partial:
        pd.DataFrame([asdict(point) for point in points]).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
    save_figure(draw_curves(curve, points), figure)


def strength_of(curve: str, level: str) -> float:
    """Return where a level stands on the axis: the ratio, or its place among the levels."""
    if level == UNTOUCHED:
        return 0.0
    return 1.0 + LEVELS.index(level) if curve in PIXELS else float(level)


def _levels(
    curve: str, folds: list[FoldPredictions], damaged: Sequence[str | Path]
) -> Iterator[tuple[str, tuple[Repeats, str]]]:
    """Yield every level, the mildest first, with its folds of each repeat and its unit."""
    yield UNTOUCHED, ([folds], "")
    text = {"patient_id": str, "level": str, "unit": str}
    tables = [pd.read_csv(path, dtype=text, keep_default_na=False) for path in damaged]
    tables = [table[table["perturbation"] == curve] for table in tables]
    for path, table, fold in zip(damaged, tables, folds, strict=True):
        _check(path, table, fold)
    levels = set().union(*(table["level"] for table in tables))
    for level in sorted(levels, key=lambda level: strength_of(curve, level)):
        own = [table[table["level"] == level] for table in tables]
        repeats = [
            [
                replace(fold, test=t[t["repeat"] == repeat].reset_index(drop=True))
                for fold, t in zip(folds, own, strict=True)
            ]
            for repeat in sorted(set(own[0]["repeat"]))
        ]
        units = sorted(set().union(*(t["unit"] for t in own)))
        yield level, (repeats, " and ".join(units))


def _check(path: str | Path, table: pd.DataFrame, fold: FoldPredictions) -> None:
    """Refuse damaged predictions that are not of the fold's test patients, each time all."""
    expected = sorted(fold.patients)
    for (level, repeat), rows in table.groupby(["level", "repeat"]):
        if sorted(rows["patient_id"]) != expected:
            odd = sorted(set(rows["patient_id"]) ^ set(expected))
            raise PredictionError(
                [
                    f"{path}: level {level}, repeat {repeat} has not the test patients of "
                    f"predictions.csv ({listed(odd)}); predict the fold again."
                ]
            )


def _point(
    name: str, curve: str, level: str, repeats: Repeats, unit: str, bootstrap: int, seed: int
) -> CurvePoint:
    folds = repeats[0]
    patients = [fold.patients for fold in folds]
    values = np.array(
        [np.mean([harrell_c(*fold.triple).value for fold in repeat]) for repeat in repeats]
    )
    draws = np.mean(
        [
            bootstrap_concordance([f.triple for f in repeat], bootstrap, seed, patients).mean
            for repeat in repeats
        ],
        axis=0,
    )
    tested = pd.concat([fold.test for fold in folds]).drop_duplicates("patient_id")
    value, interval = float(values.mean()), percentile_interval(draws)
    reason = interval.reason
    if np.isnan(value):
        reason = "a fold has no comparable pair, or risks that are no numbers"
    return CurvePoint(
        name, strength_of(curve, level), level, len(repeats), value,
        *((np.nan, np.nan) if np.isnan(value) else (interval.low, interval.high)),
        sd_over_repeats=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
        n=len(tested), events=int(tested["event"].sum()), unit=unit, reason=reason,
    )  # fmt: skip


def _against(
    point: CurvePoint, own: Repeats, first: Repeats, bootstrap: int, seed: int
) -> CurvePoint:
    """Return the point with its paired difference, averaged over repeats."""
    both = [
        [shared_patients(*pair) for pair in zip(*folds, strict=True)]
        for folds in zip(own, first, strict=True)
    ]
    found = [paired_difference(folds, bootstrap, seed) for folds in both]
    difference = float(np.mean([value for value, _ in found]))
    shared = len(set().union(*(table["patient_id"] for table in both[0])))
    point = replace(point, difference=difference, shared=shared)
    if np.isnan(difference):
        return point
    interval = percentile_interval(np.mean([draws for _, draws in found], axis=0))
    return replace(point, difference_low=interval.low, difference_high=interval.high)
