"""How well damaged patients are predicted against the strength, as a table and a figure.

Of survival it is C, of other tasks their score; ``OfSurvival`` and ``OfLabels`` say how.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from mil.config_robustness import LEVELS, PIXELS
from mil.figures import save_figure
from mil.fold_predictions import PredictionError
from mil.problems import listed
from mil.robustness.figure import draw_curves
from mil.robustness.of_labels import OfLabels
from mil.robustness.of_survival import OfSurvival
from mil.tasks import task_of
from wsi.storage import atomic

UNTOUCHED = "none"

Judge = OfSurvival | OfLabels
Repeats = Sequence[Sequence[Any]]


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
    task: Mapping[str, Any] | None = None,
) -> None:
    """Write one curve of every experiment.

    Parameters
    ----------
    curve : ``occlusion-zero``, ``occlusion-discard``, ``blur`` or ``hed``.
    names : of the experiments; the others are compared with the first.
    predictions : ``predictions.csv`` of each fold of the first experiment, then of the next, ...:
        strength 0.
    damaged : what ``predict_occluded`` or ``predict_perturbed`` wrote, in the same order.
    table : output, CSV, a row a ``CurvePoint`` or ``LabelCurvePoint``.
    figure : output, SVG.
    bootstrap : draws behind each interval.
    seed : of the configuration.
    task : what is predicted, see ``mil.tasks``; None for survival.

    Raises
    ------
    mil.problems.InputError : predictions that cannot be used, in sentences.
    """
    judge: Judge = OfSurvival(bootstrap, seed)
    if task is not None:
        judge = OfLabels(task_of(task), bootstrap, seed)
    folds = len(predictions) // len(names)
    found = {}
    for number, name in enumerate(names):
        own = slice(number * folds, (number + 1) * folds)
        found[name] = dict(_levels(curve, judge, predictions[own], damaged[own]))
    first = found[names[0]]
    points = []
    for name, levels in found.items():
        for level, (repeats, unit) in levels.items():
            point = judge.point(name, strength_of(curve, level), level, repeats, unit)
            if name != names[0]:
                point = judge.against(point, repeats, first[level][0])
            points.append(point)
    with atomic(table) as partial:
        pd.DataFrame([asdict(point) for point in points]).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
    save_figure(draw_curves(curve, points, judge.label, judge.chance), figure)


def strength_of(curve: str, level: str) -> float:
    """Return where a level stands on the axis: the ratio, or its place among the levels."""
    if level == UNTOUCHED:
        return 0.0
    return 1.0 + LEVELS.index(level) if curve in PIXELS else float(level)


def _levels(
    curve: str, judge: Judge, predictions: Sequence[str | Path], damaged: Sequence[str | Path]
) -> Iterator[tuple[str, tuple[Repeats, str]]]:
    """Yield every level, the mildest first, with its folds of each repeat and its unit."""
    folds = judge.read(predictions)
    yield UNTOUCHED, ([folds], "")
    text = {"patient_id": str, "slide_id": str, "level": str, "unit": str}
    tables = [pd.read_csv(path, dtype=text, keep_default_na=False) for path in damaged]
    tables = [table[table["perturbation"] == curve] for table in tables]
    for path, table, fold in zip(damaged, tables, folds, strict=True):
        _check(path, table, judge.id, judge.tested(fold))
    levels = set().union(*(table["level"] for table in tables))
    for level in sorted(levels, key=lambda level: strength_of(curve, level)):
        own = [table[table["level"] == level] for table in tables]
        repeats = [
            [
                judge.damaged(fold, t[t["repeat"] == repeat])
                for fold, t in zip(folds, own, strict=True)
            ]
            for repeat in sorted(set(own[0]["repeat"]))
        ]
        units = sorted(set().union(*(t["unit"] for t in own)))
        yield level, (repeats, " and ".join(units))


def _check(path: str | Path, table: pd.DataFrame, column: str, tested: Sequence[str]) -> None:
    """Refuse damaged predictions that are not of those the fold tests, each time all."""
    expected = sorted(tested)
    what = column.removesuffix("_id")
    for (level, repeat), rows in table.groupby(["level", "repeat"]):
        if sorted(rows[column]) != expected:
            odd = sorted(set(rows[column]) ^ set(expected))
            raise PredictionError(
                [
                    f"{path}: level {level}, repeat {repeat} has not the test {what}s of "
                    f"predictions.csv ({listed(odd)}); predict the fold again."
                ]
            )
