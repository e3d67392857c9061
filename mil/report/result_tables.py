"""The numbers of the evaluation as rows of the report's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

PRIMARY = "c_index"
_LABELS = {
    "c_index": "Harrell’s C, mean over folds",
    "c_index_pair_weighted": "C, folds weighted by pairs",
    "mae_uncensored": "Absolute error, events only ({unit})",
    "mae_hinge": "Absolute error, hinge ({unit})",
    "logrank_chi2": "Log-rank χ²",
    "logrank_p": "Log-rank p",
    "logrank_permutation_p": "Log-rank p by permutation",
}
NONE = "–"


@dataclass(frozen=True)
class MainRow:
    """One experiment in the main table, as text."""

    experiment: str
    value: str
    interval: str
    sd: str
    folds: list[str]
    difference: str
    difference_interval: str
    n: int
    events: int
    pairs: str


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
    """Return the primary metric of each experiment, the best first as in the comparison."""
    rows = []
    for row in comparison.to_dict("records"):
        table = metrics[row["experiment"]]
        its = table[table["metric"] == PRIMARY]
        mean = its[its["fold"] == "mean"].iloc[0]
        difference = {"low": row["difference_low"], "high": row["difference_high"]}
        rows.append(
            MainRow(
                row["experiment"],
                number_text(mean["value"]),
                interval_text(mean),
                number_text(mean["sd_over_folds"]),
                [number_text(value) for value in its[its["fold"] != "mean"]["value"]],
                number_text(row["difference"], signed=True) if rows else "reference",
                interval_text(difference, signed=True),
                int(mean["n"]),
                int(mean["events"]),
                NONE if pd.isna(mean["pairs"]) else f"{mean['pairs']:.0f}",
            )
        )
    return rows


def further_measures(
    metrics: Mapping[str, pd.DataFrame], unit: str
) -> tuple[list[str], dict[str, list[Cell]]]:
    """Return the names of all other measures over all folds, and the cells of each experiment.

    An experiment has the measures that its head allows; the others are dashes.
    """
    found: dict[str, dict[str, Cell]] = {}
    for name, table in metrics.items():
        own = table[(table["metric"] == PRIMARY) & (table["fold"] == "mean")].iloc[0]
        over_all = table[table["fold"].isin(["mean", "pooled"]) & (table["metric"] != PRIMARY)]
        found[name] = {row["metric"]: _cell(row, own) for row in over_all.to_dict("records")}
    known = [metric for metric in _LABELS if any(metric in cells for cells in found.values())]
    known += sorted({metric for cells in found.values() for metric in cells} - set(known))
    rows = {name: [cells.get(metric, Cell()) for metric in known] for name, cells in found.items()}
    return [_label(metric, unit) for metric in known], rows


def _cell(row: Mapping[str, Any], own: Mapping[str, Any]) -> Cell:
    digits = 1 if row["metric"].startswith("mae_") else 3
    value = number_text(row["value"], digits)
    if row["metric"].endswith("_p") and row["value"] < 0.001:
        value = "< 0.001"
    all_of_them = row["n"] == own["n"] and row["events"] == own["events"]
    counted = "" if all_of_them else f"n = {row['n']:.0f}, {row['events']:.0f} events"
    return Cell(value, interval_text(row, digits), counted)


def _label(metric: str, unit: str) -> str:
    return _LABELS.get(metric, metric).format(unit=unit)


def metric_warnings(metrics: Mapping[str, pd.DataFrame], unit: str) -> list[str]:
    """Return a sentence for every reason that a metric carries, each once."""
    found: dict[str, None] = {}
    for name, table in metrics.items():
        over_all = table["fold"].isin(["mean", "pooled"])
        told = "\n".join(table.loc[over_all, "reason"])
        for row in pd.concat([table[over_all], table[~over_all]]).to_dict("records"):
            told_already = row["fold"] not in ("mean", "pooled") and row["reason"] in told
            if row["reason"] and not told_already:
                label = _label(row["metric"], unit)
                where = f", fold {row['fold']}" if row["fold"].isdigit() else ""
                found[f"{name}{where}: {label}: {row['reason']}."] = None
    return list(found)


def number_text(value: float, digits: int = 3, signed: bool = False) -> str:
    """Return a number as the report writes it, a dash where it is undefined."""
    if pd.isna(value):
        return NONE
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def interval_text(row: Mapping[str, float], digits: int = 3, signed: bool = False) -> str:
    """Return ``low`` to ``high`` as the report writes it, a dash where there is no interval."""
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return NONE
    return (
        f"{number_text(row['low'], digits, signed)} to {number_text(row['high'], digits, signed)}"
    )


def best(rows: Sequence[MainRow]) -> MainRow | None:
    """Return the row with the highest C, None if no C is defined."""
    defined = [row for row in rows if row.value != NONE]
    return max(defined, key=lambda row: float(row.value), default=None)
