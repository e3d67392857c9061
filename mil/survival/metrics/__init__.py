"""Survival metrics (NumPy, float64). An undefined metric is NaN with a reason, never 0 or 0.5."""

from mil.survival.metrics.auc import TimeDependentAUC, cumulative_dynamic_auc
from mil.survival.metrics.bootstrap import Interval, bootstrap_concordance, percentile_interval
from mil.survival.metrics.brier import IntegratedBrier, brier_grid, brier_scores, integrated_brier
from mil.survival.metrics.concordance import Concordance, harrell_c
from mil.survival.metrics.kaplan_meier import KaplanMeier, censoring_survival, kaplan_meier
from mil.survival.metrics.logrank import LogRank, logrank
from mil.survival.metrics.time_errors import mae_hinge, mae_uncensored
from mil.survival.metrics.uno import UnoC, default_tau, uno_c

__all__ = [
    "Concordance",
    "IntegratedBrier",
    "Interval",
    "KaplanMeier",
    "LogRank",
    "TimeDependentAUC",
    "UnoC",
    "bootstrap_concordance",
    "brier_grid",
    "brier_scores",
    "censoring_survival",
    "cumulative_dynamic_auc",
    "default_tau",
    "harrell_c",
    "integrated_brier",
    "kaplan_meier",
    "logrank",
    "mae_hinge",
    "mae_uncensored",
    "percentile_interval",
    "uno_c",
]
