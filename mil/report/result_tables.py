"""The numbers of the evaluation as rows of the report's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PRIMARY = "c_index"
_LABELS = {
    "c_index": "Harrell’s C, mean over folds",
    "c_index_pair_weighted": "C, folds weighted by pairs",
    "c_index_labelled_train": "C, labelled training patients",
    "c_index_unlabelled_train": "C, unlabelled training patients",
    "c_index_validation": "C, validation part",
    "uno_c": "Uno’s C",
    "antolini_c": "Antolini’s C",
    "auc_mean": "AUC, mean over time",
    "mae_pseudo": "Absolute error, pseudo-observations ({unit})",
    "mae_margin": "Absolute error, margin ({unit})",
    "mae_uncensored": "Absolute error, events only ({unit})",
    "mae_hinge": "Absolute error, hinge ({unit})",
    "logrank_chi2": "Log-rank χ²",
    "logrank_p": "Log-rank p",
    "logrank_permutation_p": "Log-rank p by permutation",
    "ibs": "Integrated Brier score (IBS)",
    "ibs_km": "IBS of the Kaplan–Meier curve",
    "ibs_scaled": "Scaled IBS",
    "d_calibration_chi2": "D-calibration χ²",
    "d_calibration_p": "D-calibration p",
    "coverage_50": "Coverage of the 50 % interval",
    "coverage_80": "Coverage of the 80 % interval",
    "coverage_95": "Coverage of the 95 % interval",
    "coverage_50_events": "Coverage, 50 %, events only",
    "coverage_80_events": "Coverage, 80 %, events only",
    "coverage_95_events": "Coverage, 95 %, events only",
}
# The tables of further measures, by how their metrics begin.
TABLES = {
    "ranking": ("c_index_", "uno_", "antolini_", "auc_"),
    "groups": ("logrank_",),
    "times": ("mae_",),
    "probabilities": ("ibs", "d_calibration_"),
    "coverage": ("coverage_",),
}
NONE = "–"
PICTURED = 6
"""Groups of experiments with figures in the page; those of further ones lie beside it."""


@dataclass(frozen=True)
class MainRow:
    """One experiment, or the mean over the seeds of one, in the main table, as text."""

    experiment: str
    seeds: int
    is_member: bool
    value: str
    interval: str
    sd: str
    sd_seeds: str
    sd_repeats: str
    folds: list[str]
    difference: str
    difference_interval: str
    uno: str
    ibs_scaled: str
    d_calibration_p: str
    n: int
    events: int


@dataclass(frozen=True)
class Cell:
    """One further measure of an experiment, as text; `counted` says on whom if not on all."""

    value: str = NONE
    interval: str = NONE
    counted: str = ""


def read_metrics(paths: Mapping[str, str | Path]) -> dict[str, pd.DataFrame]:
    """Return ``metrics.csv`` of each experiment; folds are text."""
    return {
        name: pd.read_csv(path, dtype={"fold": str, "reason": str}).fillna({"reason": ""})
        for name, path in paths.items()
    }


def main_rows(metrics: Mapping[str, pd.DataFrame], comparison: pd.DataFrame) -> list[MainRow]:
    """Return the primary metric of each experiment, the best first as in the comparison.

    Of a group of seeds there is a row before those of its members, with means over seeds.
    """
    rows = []
    for row in comparison.to_dict("records"):
        own = comparison.loc[comparison["group"] == row["group"], "experiment"]
        members = [metrics[name] for name in own if name in metrics]
        is_member = row["experiment"] != row["group"]
        its = [metrics[row["experiment"]]] if row["seeds"] == 1 else members
        its = [table[table["metric"] == PRIMARY] for table in its]
        folds = [table[table["fold"] != "mean"]["value"].to_numpy() for table in its]
        difference = {"low": row["difference_low"], "high": row["difference_high"]}
        rows.append(
            MainRow(
                row["experiment"],
                row["seeds"],
                is_member,
                number_text(row["c_index"]),
                interval_text(row),
                *(number_text(row[f"sd_over_{what}"]) for what in ("folds", "seeds", "repeats")),
                [number_text(value) for value in np.mean(folds, axis=0)],
                _difference(row) if rows else "reference",
                interval_text(difference, signed=True),
                number_text(row["uno_c"]),
                number_text(row["ibs_scaled"]),
                _p_value(row["d_calibration_p"]),
                int(row["n"]),
                int(row["events"]),
            )
        )
    return rows


def shown_figures(comparison: pd.DataFrame) -> set[str]:
    """Return the experiments whose figures the page holds: the first seed of the best groups."""
    singles = comparison[comparison["seeds"] == 1]
    return set(singles.drop_duplicates("group")["experiment"].head(PICTURED))


def _difference(row: Mapping[str, Any]) -> str:
    return "" if row["experiment"] != row["group"] else number_text(row["difference"], signed=True)


def further_measures(
    metrics: Mapping[str, pd.DataFrame], unit: str, table: str
) -> tuple[list[str], dict[str, list[Cell]]]:
    """Return the names of the measures of one of `TABLES`, and the cells of each experiment.

    Both over all folds. An experiment has the measures that its head allows; the others are dashes.
    """
    starts = TABLES[table]
    found: dict[str, dict[str, Cell]] = {}
    for name, its in metrics.items():
        own = its[(its["metric"] == PRIMARY) & (its["fold"] == "mean")].iloc[0]
        over_all = its[its["fold"].isin(["mean", "pooled"]) & (its["metric"] != PRIMARY)]
        found[name] = {
            row["metric"]: _cell(row, own, unit)
            for row in over_all.to_dict("records")
            if row["metric"].startswith(starts)
        }
    known = [metric for metric in _LABELS if any(metric in cells for cells in found.values())]
    others = {metric for cells in found.values() for metric in cells} - set(known)
    known += sorted(others, key=lambda metric: (len(metric), metric))  # horizons by their length
    rows = {name: [cells.get(metric, Cell()) for metric in known] for name, cells in found.items()}
    return [_label(metric, unit) for metric in known], rows


def _cell(row: Mapping[str, Any], own: Mapping[str, Any], unit: str) -> Cell:
    digits = 1 if row["metric"].startswith("mae_") else 3
    value = number_text(row["value"], digits)
    if row["metric"].endswith("_p"):
        value = _p_value(row["value"])
    all_of_them = row["n"] == own["n"] and row["events"] == own["events"]
    counted = "" if all_of_them else f"n = {row['n']:.0f}, {row['events']:.0f} events"
    if row["metric"] == "uno_c" and not pd.isna(row["end"]):
        counted = f"τ to {row['end']:.3g} {unit}"
    return Cell(value, interval_text(row, digits), counted)


def _label(metric: str, unit: str) -> str:
    if metric.startswith("auc_") and metric not in _LABELS:
        return f"AUC at {metric.removeprefix('auc_')} {unit}"
    return _LABELS.get(metric, metric).format(unit=unit)


def metric_warnings(metrics: Mapping[str, pd.DataFrame], unit: str) -> list[str]:
    """Return a sentence for every reason that a metric carries, each once.

    Metrics of an experiment, and then experiments, that share a reason share a sentence.
    """
    by_experiment: dict[tuple[str, str, str], list[str]] = {}
    for name, table in metrics.items():
        over_all = table["fold"].isin(["mean", "pooled"])
        told = "\n".join(table.loc[over_all, "reason"])
        for row in pd.concat([table[over_all], table[~over_all]]).to_dict("records"):
            told_already = row["fold"] not in ("mean", "pooled") and row["reason"] in told
            if row["reason"] and not told_already:
                label = _label(row["metric"], unit)
                where = f", fold {row['fold']}" if row["fold"].isdigit() else ""
                by_experiment.setdefault((name, where, row["reason"]), []).append(label)
    found: dict[tuple[str, str, str], list[str]] = {}
    for (name, where, reason), labels in by_experiment.items():
        found.setdefault((where, ", ".join(labels), reason), []).append(name)
    return [
        f"{', '.join(names)}{where}: {labels}: {reason}."
        for (where, labels, reason), names in found.items()
    ]


def alarm_warnings(paths: Mapping[str, str | Path]) -> list[str]:
    """Return a sentence for every kind of alarm of an experiment, with the folds that raised it.

    Parameters
    ----------
    paths : ``alarms.csv`` of each experiment. Alarms of a kind differ in their numbers alone; the
        sentence is that of the first fold.
    """
    found = []
    for name, path in paths.items():
        table = pd.read_csv(path, dtype=str)
        for _, alike in table.groupby(table["alarm"].str.replace(r"[\d.]+", "", regex=True)):
            folds = ", ".join(alike["fold"])
            found.append(f"{name}, fold{'s' * (len(alike) > 1)} {folds}: {alike['alarm'].iloc[0]}")
    return found


def number_text(value: float, digits: int = 3, signed: bool = False) -> str:
    """Return a number as the report writes it, a dash where it is undefined."""
    if pd.isna(value):
        return NONE
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else number_text(value)


def interval_text(row: Mapping[str, float], digits: int = 3, signed: bool = False) -> str:
    """Return ``low`` to ``high`` as the report writes it, a dash where there is no interval."""
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return NONE
    return (
        f"{number_text(row['low'], digits, signed)} to {number_text(row['high'], digits, signed)}"
    )


def best(rows: Sequence[MainRow]) -> MainRow | None:
    """Return the row with the highest C, None if no C is defined; one seed is no experiment."""
    defined = [row for row in rows if row.value != NONE and not row.is_member]
    return max(defined, key=lambda row: float(row.value), default=None)


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
    events: int


def predicted_rows(table: pd.DataFrame, unit: str) -> list[PredictedRow]:
    """Return what the metrics of a predicted cohort say of the ensemble and of each model."""
    rows = []
    for metric in table.loc[table["fold"] == "ensemble", "metric"]:
        its = table[table["metric"] == metric].set_index("fold")
        of_models = its[its.index.str.isdigit()]["value"]
        whole, digits = its.loc["ensemble"], 1 if metric.startswith("mae_") else 3
        known = "mean" in its.index
        rows.append(
            PredictedRow(
                _label_of_ensemble(metric, unit),
                _cell({**whole, "metric": metric}, whole, unit).value,
                interval_text(whole, digits),
                number_text(its.loc["mean", "value"], digits) if known else NONE,
                interval_text(its.loc["mean"], digits) if known else NONE,
                [number_text(value, digits) for value in of_models],
                int(whole["n"]),
                int(whole["events"]),
            )
        )
    return rows


def predicted_warnings(name: str, table: pd.DataFrame, unit: str) -> list[str]:
    """Return a sentence for every reason that a metric of the ensemble or of a model carries."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table[(table["fold"] != "mean") & (table["reason"] != "")].itertuples():
        model = "ensemble" if row.fold == "ensemble" else f"model of fold {row.fold}"
        found.setdefault((model, row.reason), []).append(_label_of_ensemble(row.metric, unit))
    return [
        f"{name}, {model}: {', '.join(labels)}: {reason}."
        for (model, reason), labels in found.items()
    ]


def _label_of_ensemble(metric: str, unit: str) -> str:
    return _label(metric, unit).removesuffix(", mean over folds")
