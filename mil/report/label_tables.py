"""The numbers of an evaluation with labels as rows of the report's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mil.report.result_tables import NONE, interval_text, number_text

LABELS = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "kappa": "Quadratic kappa",
    "cohen_kappa": "Cohen’s kappa",
    "brier": "Brier score",
    "ece": "Calibration error",
    "r2": "R²",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "pearson": "Pearson’s r",
}


@dataclass(frozen=True)
class MainRow:
    """One experiment, or the mean over the seeds of one, as text."""

    experiment: str
    seeds: int
    is_member: bool
    value: str
    interval: str
    sd: str
    sd_seeds: str
    folds: list[str]
    difference: str
    n: int


@dataclass(frozen=True)
class Measure:
    """A further measure of an experiment, as text."""

    value: str = NONE
    interval: str = NONE


def main_rows(
    comparison: pd.DataFrame, metrics: Mapping[str, pd.DataFrame], score: str
) -> list[MainRow]:
    """Return the score of each experiment, the best first as in the comparison."""
    rows = []
    for row in comparison.to_dict("records"):
        own = comparison.loc[comparison["group"] == row["group"], "experiment"]
        names = [row["experiment"]] if row["seeds"] == 1 else [n for n in own if n in metrics]
        tables = [metrics[name] for name in names]
        folds = [t[(t["metric"] == score) & t["fold"].str.isdigit()]["value"] for t in tables]
        rows.append(
            MainRow(
                row["experiment"],
                row["seeds"],
                row["experiment"] != row["group"],
                number_text(row["value"]),
                interval_text(row),
                number_text(row["sd_over_folds"]),
                number_text(row["sd_over_seeds"]),
                [number_text(value) for value in np.mean(folds, axis=0)],
                _difference(row) if rows else "reference",
                int(row["n"]),
            )
        )
    return rows


def _difference(row: Mapping[str, float]) -> str:
    if row["experiment"] != row["group"]:
        return ""
    value = number_text(row["difference"], signed=True)
    ends = {"low": row["difference_low"], "high": row["difference_high"]}
    interval = interval_text(ends, signed=True)
    return value if interval == NONE else f"{value} ({interval})"


def measures(
    metrics: Mapping[str, pd.DataFrame], score: str
) -> tuple[list[str], dict[str, list[Measure]]]:
    """Return names of the measures beside the score, and the cells of each experiment."""
    found: dict[str, dict[str, Measure]] = {}
    for name, table in metrics.items():
        own = table[table["fold"].isin(["mean", "pooled"]) & (table["metric"] != score)]
        found[name] = {
            row["metric"]: Measure(number_text(row["value"]), interval_text(row))
            for row in own.to_dict("records")
        }
    known = list(dict.fromkeys(metric for cells in found.values() for metric in cells))
    rows = {name: [cells.get(m, Measure()) for m in known] for name, cells in found.items()}
    return [measure_name(metric) for metric in known], rows


def measure_name(metric: str) -> str:
    """Return the name of a metric of ``metrics.csv`` as the report has it."""
    if metric.startswith("auroc_"):
        return f"AUROC of {metric.removeprefix('auroc_')}"
    return LABELS.get(metric, metric.replace("_", " "))


def threshold_text(metrics: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return of each experiment the thresholds that validation parts chose, fold by fold."""
    found = {}
    for name, table in metrics.items():
        own = table[table["metric"].str.startswith("threshold_")]
        told = [
            f"{metric.removeprefix('threshold_')} "
            + ", ".join(number_text(value, 2) for value in rows["value"])
            for metric, rows in own.groupby("metric", sort=False)
        ]
        found[name] = "; ".join(told)
    return found


def label_warnings(metrics: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return a sentence for every reason that a metric carries over all folds.

    Metrics of an experiment, and then experiments, that share a reason share a sentence.
    """
    labels: dict[tuple[str, str], list[str]] = {}
    for name, table in metrics.items():
        own = table[table["fold"].isin(["mean", "pooled"]) & (table["reason"] != "")]
        for row in own.itertuples():
            labels.setdefault((name, row.reason), []).append(measure_name(row.metric))
    names: dict[tuple[str, str], list[str]] = {}
    for (name, reason), of_metrics in labels.items():
        names.setdefault((", ".join(of_metrics), reason), []).append(name)
    return [
        f"{', '.join(own)}: {of_metrics}: {reason}." for (of_metrics, reason), own in names.items()
    ]


def best(rows: Sequence[MainRow]) -> MainRow | None:
    """Return the first row with a defined score; None if there is none."""
    return next((row for row in rows if row.value != NONE and not row.is_member), None)
