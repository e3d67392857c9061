"""Low and high risk, split where the training part says, and how the groups fared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mil.fold_metrics import POOLED, MetricRow
from mil.fold_predictions import FoldPredictions, first_repeat
from mil.seeds import seed_for
from mil.survival.metrics.kaplan_meier import KaplanMeier, kaplan_meier
from mil.survival.metrics.logrank import LogRank, logrank, permutation_p
from wsi.storage import atomic

GROUPS = ("low", "high")


@dataclass(frozen=True)
class RiskGroups:
    """Test patients with their group.

    Parameters
    ----------
    table : fold, patient_id, time, event, group; every patient once.
    thresholds : of each fold in the table, the median risk of its training part.
    reason : what had to be left out, or empty.
    """

    table: pd.DataFrame
    thresholds: dict[int, float]
    reason: str = ""

    def curves(self, fold: int | None = None) -> dict[str, KaplanMeier]:
        """Return the Kaplan-Meier curve of each group that has patients, pooled or of one fold."""
        table = self.table if fold is None else self.table[self.table["fold"] == fold]
        parts = {group: table[table["group"] == group] for group in GROUPS}
        return {
            g: kaplan_meier(part["time"], part["event"]) for g, part in parts.items() if len(part)
        }

    def test(self) -> LogRank:
        """Return the log-rank test of high against low risk, stratified by fold."""
        t = self.table
        return logrank(t["time"], t["event"], t["group"] == "high", t["fold"])


def split_by_risk(folds: Sequence[FoldPredictions]) -> RiskGroups:
    """Call test patients high risk if their risk exceeds the median of their fold's training part.

    The threshold never looks at the test part. Folds are pooled by label, never by risk.
    """
    used = [fold for fold in first_repeat(folds) if fold.finite and len(fold.train)]
    thresholds = {fold.fold: float(fold.train["risk"].median()) for fold in used}
    parts = [
        fold.test[["patient_id", "time", "event"]].assign(
            fold=fold.fold,
            group=np.where(fold.test["risk"] > thresholds[fold.fold], "high", "low"),
        )
        for fold in used
    ]
    columns = ["fold", "patient_id", "time", "event", "group"]
    table = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    left_out = [str(f.fold) for f in first_repeat(folds) if f.fold not in thresholds]
    reason = f"without fold {', '.join(left_out)}: no finite risks" if left_out else ""
    return RiskGroups(table, thresholds, reason)


def logrank_rows(groups: RiskGroups, permutations: int, seed: int) -> list[MetricRow]:
    """Return the stratified log-rank test and its permutation p-value as metrics."""
    test, t = groups.test(), groups.table
    reason = "; ".join(part for part in (groups.reason, test.reason) if part)
    p = permutation_p(
        t["time"], t["event"], t["group"] == "high", t["fold"],
        permutations, seed_for(seed, "log-rank permutations"),
    )  # fmt: skip
    values = {
        "logrank_chi2": test.statistic,
        "logrank_p": test.p_value,
        "logrank_permutation_p": p,
    }
    return [
        MetricRow(name, POOLED, value, n=test.n, events=test.events, reason=reason)
        for name, value in values.items()
    ]


def write_curves(path: str | Path, groups: RiskGroups) -> None:
    """Write the curves of all folds together (``fold = pooled``) and of each with its threshold."""
    parts = [curve_steps(POOLED, np.nan, groups.curves())]
    parts += [curve_steps(fold, at, groups.curves(fold)) for fold, at in groups.thresholds.items()]
    write_steps(path, parts)


def write_steps(path: str | Path, parts: Sequence[pd.DataFrame]) -> None:
    """Write the tables of ``curve_steps`` one below the other."""
    table = pd.concat([part for part in parts if len(part)] or parts)
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")


def curve_steps(fold: int | str, threshold: float, curves: dict[str, KaplanMeier]) -> pd.DataFrame:
    """Return the curves of the groups as a table, a row a step."""
    columns = ["time", "survival", "low", "high", "at_risk", "events", "censored"]
    rows = [
        pd.DataFrame({name: getattr(curve, name) for name in columns})
        .astype({"at_risk": int, "events": int, "censored": int})
        .assign(group=group)
        for group, curve in curves.items()
    ]
    table = pd.concat(rows) if rows else pd.DataFrame(columns=[*columns, "group"])
    return table.assign(fold=fold, threshold=threshold)[["fold", "threshold", "group", *columns]]
