"""Put experiments side by side: one table, one picture, differences on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mil.compared_experiment import BESIDE, ComparedExperiment
from mil.comparison_text import describe_comparison
from mil.figures import save_figure
from mil.fold_metrics import MEAN, POOLED
from mil.fold_predictions import FoldPredictions, PredictionError, read_predictions
from mil.forest import draw_forest
from mil.seed_groups import SeedGroup, paired_difference, sd_over_repeats
from wsi.storage import atomic


def compare_experiments(
    *,
    names: Sequence[str],
    predictions: Mapping[str, Sequence[str | Path]],
    metrics: Sequence[str | Path],
    groups: Mapping[str, Sequence[str]] | None = None,
    comparison: str | Path,
    text: str | Path,
    forest: str | Path,
    bootstrap: int,
    seed: int,
) -> None:
    """Compare experiments by Harrell's C, mean over folds.

    Parameters
    ----------
    names : of the experiments.
    predictions : ``predictions.csv`` of each fold, for each name.
    metrics : ``metrics.csv`` of each experiment, in the order of the names.
    groups : names of the experiments that differ by their seeds alone, by group; None: each name is
        a group.
    comparison : output, CSV, a row a group, the highest C first, ties by name; below that of a
        group of several seeds a row for each of them (``mil.compared_experiment``).
    text : output, the same as a table for a terminal, up to 100 columns wide.
    forest : output, SVG: C of every fold, mean and interval, a line a group.
    bootstrap : draws behind the intervals of the differences; both experiments see the same draws.
    seed : of the configuration.

    Raises
    ------
    mil.problems.InputError : predictions that cannot be compared, in sentences.
    """
    tables = {
        name: pd.read_csv(path, dtype={"fold": str})
        for name, path in zip(names, metrics, strict=True)
    }
    folds = {name: read_predictions(predictions[name]) for name in names}
    _check_folds(folds)
    found = [
        _group(group, members, tables, folds)
        for group, members in (groups or {name: [name] for name in names}).items()
    ]
    summaries = {group.name: group.summary(bootstrap, seed) for group in found}
    found.sort(key=lambda group: _rank(summaries[group.name]))
    best = found[0]
    rows, lines = [], []
    for group in found:
        line = _against_best(summaries[group.name], group, best, bootstrap, seed)
        lines.append(line)
        rows += [line, *(group.rows if len(group.rows) > 1 else [])]

    with atomic(comparison) as partial:
        pd.DataFrame([asdict(row) for row in rows]).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
    with atomic(text) as partial:
        partial.write_text(describe_comparison(rows, bootstrap), encoding="utf-8")
    save_figure(draw_forest(lines, {group.name: group.points for group in found}), forest)


def _rank(row: ComparedExperiment) -> tuple:
    """Return what to sort by: the highest C first, NaN last (an undefined C is no rank)."""
    return np.isnan(row.c_index), -np.nan_to_num(row.c_index), row.experiment


def _group(
    name: str,
    members: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    folds: Mapping[str, list[FoldPredictions]],
) -> SeedGroup:
    """Return a group; a single member stands for it under its own name."""
    group = name if len(members) > 1 else members[0]
    rows = [_read_experiment(member, group, tables[member], folds[member]) for member in members]
    points = np.array([_of_folds(tables[member]) for member in members])
    return SeedGroup(group, rows, [folds[member] for member in members], points)


def _read_experiment(
    name: str, group: str, metrics: pd.DataFrame, folds: list[FoldPredictions]
) -> ComparedExperiment:
    """Return an experiment's row from its ``metrics.csv``, still without a difference."""
    mean = metrics[metrics["fold"] == MEAN].set_index("metric")
    own, points = mean.loc["c_index"], _of_folds(metrics)
    return ComparedExperiment(
        name,
        group,
        1,
        *(float(own[column]) for column in ("value", "low", "high", "sd_over_folds")),
        sd_over_repeats=sd_over_repeats(folds, points),
        sd_over_seeds=np.nan,
        pair_weighted_c=float(mean.loc["c_index_pair_weighted", "value"]),
        **{name: _over_all(metrics, name) for name in BESIDE},
        n=int(own["n"]),
        events=int(own["events"]),
        folds=len(points),
        reason="" if pd.isna(own["reason"]) else own["reason"],
    )


def _over_all(metrics: pd.DataFrame, metric: str) -> float:
    """Return a metric over all folds, NaN where the head does not have it."""
    own = metrics[(metrics["metric"] == metric) & metrics["fold"].isin([MEAN, POOLED])]
    return float(own["value"].iloc[0]) if len(own) else np.nan


def _of_folds(metrics: pd.DataFrame) -> np.ndarray:
    """Return C of every fold, [folds]."""
    own = metrics[(metrics["metric"] == "c_index") & (metrics["fold"] != MEAN)]
    return own["value"].to_numpy(np.float64)


def _check_folds(folds: Mapping[str, list[FoldPredictions]]) -> None:
    """Refuse experiments that were not judged on the same folds."""
    (first, reference), *others = folds.items()
    problems = [
        f"Experiment {name} has {len(own)} folds and {first} has {len(reference)}; only "
        "experiments on the same folds can be compared."
        for name, own in others
        if len(own) != len(reference)
    ]
    if problems:
        raise PredictionError(problems)


def _against_best(
    row: ComparedExperiment, own: SeedGroup, best: SeedGroup, bootstrap: int, seed: int
) -> ComparedExperiment:
    """Return the row of a group with its paired difference."""
    if own is best:
        return replace(row, difference=row.c_index - row.c_index, shared=row.n)
    paired = paired_difference(own, best, bootstrap, seed)
    if paired.other_labels:
        reason = "no difference, other labels than in the first row"
        row = replace(row, reason=f"{row.reason}; {reason}" if row.reason else reason)
    return replace(
        row,
        difference=paired.value,
        difference_low=paired.low,
        difference_high=paired.high,
        shared=paired.shared,
    )
