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


@dataclass(frozen=True)
class PredictedRow:
    """One measure of an experiment on a predicted cohort, as text."""

    measure: str
    ensemble: str
    interval: str
    mean: str
    mean_interval: str
    models: list[str]
    n: int


def predicted_rows(table: pd.DataFrame) -> list[PredictedRow]:
    """Return what the metrics of a predicted cohort say of the ensemble and of each model."""
    rows = []
    own = table[~table["metric"].str.startswith("threshold_")]
    for metric in own.loc[own["fold"] == "ensemble", "metric"]:
        its = own[own["metric"] == metric].set_index("fold")
        whole, known = its.loc["ensemble"], "mean" in its.index
        rows.append(
            PredictedRow(
                measure_name(metric),
                number_text(whole["value"]),
                interval_text(whole),
                number_text(its.loc["mean", "value"]) if known else NONE,
                interval_text(its.loc["mean"]) if known else NONE,
                [number_text(value) for value in its[its.index.str.isdigit()]["value"]],
                int(whole["n"]),
            )
        )
    return rows


def predicted_thresholds(table: pd.DataFrame) -> str:
    """Return the thresholds of the ensemble and of each model, empty where there are none."""
    own = table[table["metric"].str.startswith("threshold_")]
    told = []
    for metric, rows in own.groupby("metric", sort=False):
        whole = rows.loc[rows["fold"] == "ensemble", "value"].item()
        models = rows.loc[rows["fold"] != "ensemble", "value"]
        said = ", ".join(number_text(value, 2) for value in models)
        name = metric.removeprefix("threshold_")
        told.append(f"{name} {number_text(whole, 2)} (models {said})")
    return "; ".join(told)


def predicted_warnings(name: str, table: pd.DataFrame) -> list[str]:
    """Return a sentence for every reason that a metric of the ensemble or of a model carries."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table[(table["fold"] != "mean") & (table["reason"] != "")].itertuples():
        model = "ensemble" if row.fold == "ensemble" else f"model of fold {row.fold}"
        found.setdefault((model, row.reason), []).append(measure_name(row.metric))
    return [
        f"{name}, {model}: {', '.join(measures)}: {reason}."
        for (model, reason), measures in found.items()
    ]


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
