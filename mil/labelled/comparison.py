"""Put experiments of a task with labels side by side: a table, a picture, paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.comparison_text import aligned_table, wrapped
from mil.figures import save_figure
from mil.fold_predictions import PredictionError
from mil.forest import draw_forest
from mil.labelled.compared import ComparedLabels
from mil.labelled.predictions import (
    LabelFold,
    each_once,
    read_label_predictions,
)
from mil.labelled.scores import AXES, CHANCE, fold_scores, shared_tests
from mil.survival.metrics.bootstrap import percentile_interval
from mil.tasks import SCORES_IN_WORDS, task_of
from mil.tasks.labelled import LabelTask
from wsi.storage import atomic


@dataclass(frozen=True)
class _Group:
    """Experiments that differ by their seeds alone: predictions of each, fold by fold."""

    name: str
    members: Mapping[str, list[LabelFold]]


def compare_labels(
    *,
    names: Sequence[str],
    task: Mapping[str, Any],
    predictions: Mapping[str, Sequence[str | Path]],
    groups: Mapping[str, Sequence[str]] | None = None,
    comparison: str | Path,
    text: str | Path,
    forest: str | Path,
    bootstrap: int,
    seed: int,
) -> None:
    """Compare experiments by the score of their task, mean over folds.

    Parameters
    ----------
    names : of the experiments.
    task : see ``mil.tasks``.
    predictions : ``predictions.csv`` of each fold, for each name.
    groups : names of the experiments that differ by their seeds alone, by group; None: each name is
        a group.
    comparison : output, CSV, a row a group, the highest score first; below that of a group of
        several seeds a row for each (``mil.labelled.compared``).
    text : output, the same as a table for a terminal.
    forest : output, SVG: the score of every fold, mean and interval, a line a group.
    bootstrap : draws behind the intervals; all experiments see the same.
    seed : of the configuration.

    Raises
    ------
    mil.problems.InputError : predictions that cannot be compared, in sentences.
    """
    predicted = task_of(task)
    folds = {name: read_label_predictions(predictions[name], predicted) for name in names}
    if len({len(own) for own in folds.values()}) > 1:
        raise PredictionError(["Only experiments on the same folds can be compared."])
    found = []
    for name, members in (groups or {name: [name] for name in names}).items():
        group = _Group(
            name if len(members) > 1 else members[0], {each: folds[each] for each in members}
        )
        found.append((group, *_summary(group, predicted, bootstrap, seed)))
    found.sort(key=lambda one: (np.isnan(one[1].value), -np.nan_to_num(one[1].value), one[0].name))
    best = found[0][0]
    rows, lines = [], []
    for group, line, members, _ in found:
        line = _against(line, group, best, predicted, bootstrap, seed)
        lines.append(line)
        rows += [line, *(members if len(members) > 1 else [])]

    with atomic(comparison) as partial:
        pd.DataFrame([asdict(row) for row in rows]).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
    with atomic(text) as partial:
        partial.write_text(_described(rows, predicted, bootstrap), encoding="utf-8")
    points = {group.name: own for group, _, _, own in found}
    drawn = draw_forest(lines, points, AXES[predicted.score], CHANCE[predicted.score])
    save_figure(drawn, forest)


def _summary(
    group: _Group, task: LabelTask, bootstrap: int, seed: int
) -> tuple[ComparedLabels, list[ComparedLabels], NDArray[np.float64]]:
    """Return the row of a group, those of its members, and the score [seeds, folds]."""
    points, draws = [], []
    for folds in group.members.values():
        own, drawn = fold_scores(folds, task, bootstrap, seed)
        points.append(own)
        draws.append(drawn)
    of_all = np.array(points)  # [seeds, folds]
    first = next(iter(group.members.values()))
    n = sum(len(fold.test) for fold in each_once(first))

    def row(name: str, of_seeds: NDArray, drawn: NDArray) -> ComparedLabels:
        interval = percentile_interval(drawn)
        value = float(of_seeds.mean())
        undefined = "" if np.isfinite(value) else "undefined in a fold, see metrics.csv"
        return ComparedLabels(
            name,
            group.name,
            len(of_seeds),
            task.score,
            value,
            *((interval.low, interval.high) if np.isfinite(value) else (np.nan, np.nan)),
            sd_over_folds=_sd(of_seeds.mean(axis=0)),
            sd_over_seeds=_sd(of_seeds.mean(axis=1)),
            n=n,
            folds=of_seeds.shape[1],
            reason=undefined or interval.reason,
        )

    rows = [row(name, of_all[k : k + 1], draws[k]) for k, name in enumerate(group.members)]
    return row(group.name, of_all, np.mean(draws, axis=0)), rows, of_all


def _against(
    row: ComparedLabels, own: _Group, best: _Group, task: LabelTask, bootstrap: int, seed: int
) -> ComparedLabels:
    """Return the row with its difference on the same patients and the same bootstrap draws."""
    if own is best:
        return replace(row, difference=row.value - row.value, shared=row.n)
    both = [*own.members.values(), *best.members.values()]
    aligned = shared_tests(both)
    shared = sum(len(fold.test) for fold in each_once(aligned[0]))
    same = all(
        np.array_equal(one.test.truth, other.test.truth, equal_nan=True)
        for folds in aligned[1:]
        for one, other in zip(folds, aligned[0], strict=True)
    )
    if not same:  # permuted in another way
        reason = "no difference, other labels than in the first row"
        return replace(row, shared=shared, reason=row.reason or reason)
    scores = [fold_scores(folds, task, bootstrap, seed) for folds in aligned]
    sides = scores[: len(own.members)], scores[len(own.members) :]
    value = float(np.subtract(*(np.mean([s[0].mean() for s in side]) for side in sides)))
    draws = np.subtract(*(np.mean([s[1] for s in side], axis=0) for side in sides))
    interval = percentile_interval(draws)
    return replace(
        row,
        difference=value,
        difference_low=interval.low if np.isfinite(value) else np.nan,
        difference_high=interval.high if np.isfinite(value) else np.nan,
        shared=shared,
    )


def _sd(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _described(rows: Sequence[ComparedLabels], task: LabelTask, bootstrap: int) -> str:
    """Return heading, aligned table and notes; no line is wider than 100 columns."""
    score = SCORES_IN_WORDS[task.score]
    columns = {
        score: lambda row: _number(row.value),
        "95 % interval": lambda row: _interval(row.low, row.high),
        "SD": lambda row: _number(row.sd_over_folds),
    }
    if any(row.seeds > 1 for row in rows):
        columns["SD seeds"] = lambda row: _number(row.sd_over_seeds)
    if sum(not row.is_member for row in rows) > 1:
        columns["vs best"] = lambda row: _difference(row, rows[0])
    names = [
        "  " + row.experiment.removeprefix(f"{row.group}.") if row.is_member else row.experiment
        for row in rows
    ]
    cells = [[name, *(cell(row) for cell in columns.values())]
             for name, row in zip(names, rows, strict=True)]  # fmt: skip
    against = (
        f"vs best: {score} minus that of {rows[0].experiment}, on the same {task.unit}s and draws; "
        "95 % interval."
    )
    notes = [
        f"{score} of {' / '.join(task.columns)} on test parts, mean over folds. 95 % interval: "
        f"percentiles of {bootstrap} bootstrap draws of patients inside each fold; models are not "
        "retrained. SD: over folds, a spread and not an interval.",
        *([against] if "vs best" in columns else []),
        *(f"{row.experiment}: {row.reason}." for row in rows if row.reason),
    ]
    trained = sum(row.seeds for row in rows if not row.is_member)
    heading = (
        f"{trained} experiment{'s' * (trained > 1)}: n = {rows[0].n} {task.unit}s, "
        f"{rows[0].folds} fold{'s' * (rows[0].folds > 1)}"
    )
    lines = [heading, "", *aligned_table(["experiment", *columns], cells)]
    lines += [line for note in notes for line in wrapped(note)]
    return "\n".join(lines) + "\n"


def _difference(row: ComparedLabels, best: ComparedLabels) -> str:
    if row is best:
        return "best"
    if row.is_member or np.isnan(row.difference):
        return "" if row.is_member else "-"
    interval = f"[{row.difference_low:+.3f}, {row.difference_high:+.3f}]"
    return f"{row.difference:+.3f}" + ("" if np.isnan(row.difference_low) else f" {interval}")


def _interval(low: float, high: float) -> str:
    return "-" if np.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
