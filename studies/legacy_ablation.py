"""What each defect of the published code does to test results: paired arms on simulated bags.

`python -m studies.legacy_ablation` writes `studies/tables/legacy_ablation.csv` and
`docs/images/legacy_ablation.svg`. Patients, follow-up and folds are those of TCGA-BRCA as AdvMIL
publishes them; tissue and event times are simulated, so that a truth exists to be missed.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mil.figures import BLUE, INK, MUTED, house_style, new_figure, save_figure
from mil.labels import read_fold
from mil.seeds import seed_for
from mil.survival.metrics.bootstrap import (
    bootstrap_concordance,
    bootstrap_means,
    percentile_interval,
)
from mil.survival.metrics.brier import brier_grid, brier_scores
from mil.survival.metrics.concordance import harrell_c
from mil.survival.metrics.time_errors import hinge_errors
from mil.table_writer import write_table
from studies.simulated_brca import CLUSTERS, simulate
from studies.simulated_cohort import SimulatedCohort
from studies.trained import Trained, train

SIZES = {"hidden": 64, "out": 64}
TRAINING = {"epochs": 12, "patience": 12, "warmup": 3, "window": 32, "learning_rate": 1e-3}
BOOTSTRAP = 2000
SIDES = ("corrected", "legacy")


@dataclass(frozen=True)
class Arm:
    """One way to train; `cohort` is where the bags come from: ``tiles`` or ``corner``."""

    head: str
    model: str = "abmil"
    head_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    training: Mapping[str, Any] = field(default_factory=dict)
    cohort: str = "tiles"


def _adversarial(*legacy: str, **head_options: Any) -> Arm:
    return Arm(
        "adversarial",
        head_options=head_options,
        training={"legacy": list(legacy)} if legacy else {},
    )


def _clustered(mask_empty: bool) -> Arm:
    options = {"hidden": 64, "mask_empty": mask_empty, "clusters": CLUSTERS}
    return Arm("nll", model="deepattnmisl", model_options=options)


PAIRS = {
    "discriminator loss": (_adversarial(), _adversarial(discriminator_loss="bce_legacy")),
    "time scale": (_adversarial(), _adversarial("table_scale")),
    "last window": (_adversarial(), _adversarial("drop_last")),
    "validation noise": (_adversarial(), _adversarial("fresh_noise")),
    "the four together": (
        _adversarial(),
        _adversarial("table_scale", "drop_last", "fresh_noise", discriminator_loss="bce_legacy"),
    ),
    "monitored C-index": (
        Arm("adversarial", training={"monitor": "c_index"}),
        Arm("adversarial", training={"monitor": "c_index", "legacy": ["monitor"]}),
    ),
    "Cox loss": (Arm("cox"), Arm("cox", head_options={"legacy_loss": True})),
    "NLL labels": (Arm("nll"), Arm("nll", head_options={"legacy_labels": True})),
    "empty clusters": (_clustered(True), _clustered(False)),
    "patch offsets": (Arm("nll"), Arm("nll", cohort="corner")),
}
"""The corrected and the legacy arm of every switch."""


def main() -> None:
    """Train every arm on every fold and seed, unless done; write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tables", default="../shared/data/tables/advmil", help="AdvMIL's tables")
    parser.add_argument(
        "--work", default="data/studies/legacy_ablation", help="what may be deleted"
    )
    parser.add_argument("--table", default="studies/tables/legacy_ablation.csv")
    parser.add_argument("--figure", default="docs/images/legacy_ablation.svg")
    options = parser.parse_args()
    run(options.tables, options.work, options.table, options.figure, seeds=(1, 2, 3))


def run(
    tables: str | Path,
    work: str | Path,
    table: str | Path,
    figure: str | Path,
    seeds: Sequence[int],
    training: Mapping[str, Any] = TRAINING,
    bootstrap: int = BOOTSTRAP,
    pairs: Mapping[str, tuple[Arm, Arm]] = PAIRS,
) -> None:
    """Do the study.

    Parameters
    ----------
    tables : folder with `table/tcga_brca_path_full.csv` and `data_split/tcga_brca-fold<k>.npz`.
    work : folder of the simulated bags and the trainings; one that was cut off goes on there.
    table, figure : outputs, CSV and SVG.
    seeds : of the trainings; folds, bags and follow-up stay.
    training : settings of every arm.
    bootstrap : draws behind the intervals.
    pairs : corrected and legacy arm by switch.
    """
    torch.set_num_threads(1)
    cohorts, folds = simulate(tables, work)
    fitted_on = [_training_part(cohorts["tiles"], fold) for fold in range(folds)] * len(seeds)
    found = {}
    for seed in seeds:  # seeds outside: after a third of the time there is a whole first answer
        for name, pair in pairs.items():
            for side, arm in zip(SIDES, pair, strict=True):
                found.setdefault((name, side), []).extend(
                    train(
                        cohorts[arm.cohort],
                        fold,
                        seed,
                        model=arm.model,
                        head=arm.head,
                        training={**training, **arm.training},
                        model_options=arm.model_options,
                        head_options=arm.head_options,
                    )
                    for fold in range(folds)
                )
            print(f"seed {seed}: {name}", flush=True)
    rows = [
        [name, *row]
        for name in pairs
        for row in _differences(
            pairs[name], [found[name, side] for side in SIDES], fitted_on, seeds, bootstrap
        )
    ]
    header = ["switch", "metric", "corrected", "legacy", "difference", "low", "high"]
    write_table(table, [*header, *(f"seed_{seed}" for seed in seeds)], rows)
    save_figure(_draw(pd.read_csv(table)), figure)
    print(f"\n{describe(pd.read_csv(table))}")


def _differences(
    pair: tuple[Arm, Arm],
    trained: Sequence[Sequence[Trained]],
    fitted_on: Sequence[pd.DataFrame],
    seeds: Sequence[int],
    bootstrap: int,
) -> list[list[object]]:
    """Return the rows of a switch: both values, their difference, its interval, that of each seed.

    A patient is drawn once for all seeds and both arms; every fold counts alike.
    """
    tests = [[one.test for one in side] for side in trained]
    patients = [table["patient_id"].tolist() for table in tests[0]]
    seed = seed_for(0, "legacy ablation", "bootstrap")

    triples = [
        [tuple(table[c].to_numpy() for c in ("time", "event", "risk")) for table in side]
        for side in tests
    ]
    draws = [bootstrap_concordance(side, bootstrap, seed, patients).mean for side in triples]
    values = [np.array([harrell_c(*fold).value for fold in side]) for side in triples]
    rows = [["C-index", *_row(values, draws, seeds)]]

    if pair[0].head != "adversarial":  # with so few events, medians of bins are their last edge
        return rows
    measured = {
        "hinge error, days": [
            [hinge_errors(t["predicted_time"], t["time"], t["event"]) for t in side]
            for side in tests
        ],
        "integrated Brier score": [
            [_brier_parts(one, fitted) for one, fitted in zip(side, fitted_on, strict=True)]
            for side in trained
        ],
    }
    for metric, sides in measured.items():
        draws = [
            bootstrap_means([(v, np.ones(len(v))) for v in side], bootstrap, seed, patients).mean(1)
            for side in sides
        ]
        values = [np.array([part.mean() for part in side]) for side in sides]
        rows.append([metric, *_row(values, draws, seeds)])
    return rows


def _row(
    values: list[NDArray[np.float64]], draws: list[NDArray[np.float64]], seeds: Sequence[int]
) -> list[float]:
    """Return both means, their difference with its interval, and the difference by seed."""
    differences = (values[0] - values[1]).reshape(len(seeds), -1).mean(1)
    interval = percentile_interval(draws[0] - draws[1])
    means = [float(side.mean()) for side in values]
    return [*means, means[0] - means[1], interval.low, interval.high, *map(float, differences)]


def _training_part(cohort: SimulatedCohort, fold: int) -> pd.DataFrame:
    patients = cohort.tables["patients"]
    everyone = pd.read_csv(patients, dtype={"patient_id": str})["patient_id"]
    return read_fold(cohort.fold(fold), patients, set(everyone)).part("train")


def _brier_parts(trained: Trained, fitted: pd.DataFrame) -> NDArray[np.float64]:
    """Return the parts [n] of the test patients in the integrated Brier score, their mean."""
    test = trained.test
    seen = fitted["time"].to_numpy(), fitted["event"].to_numpy()
    grid = brier_grid(*seen, test["time"])
    survival = (trained.test_draws[:, :, None] > grid).mean(1)  # [n, m]
    parts = [
        brier_scores(survival[[i]], grid, test["time"][[i]], test["event"][[i]], *seen)
        for i in range(len(test))
    ]
    return np.trapezoid(np.array(parts), grid, axis=1) / (grid[-1] - grid[0])


def describe(table: pd.DataFrame) -> str:
    """Return the table as the page of the documentation shows it."""
    lines = ["| switch | metric | corrected | legacy | difference | seeds |"]
    lines.append("|---|---|---|---|---|---|")
    for row in table.to_dict("records"):
        digits = 0 if "days" in row["metric"] else 3 if "C" in row["metric"] else 4
        values = [f"{row[side]:.{digits}f}" for side in SIDES]
        low, high = f"{row['low']:+.{digits}f}", f"{row['high']:+.{digits}f}"
        seeds = ", ".join(f"{v:+.{digits}f}" for k, v in row.items() if k.startswith("seed_"))
        difference = f"{row['difference']:+.{digits}f} [{low}, {high}]"
        lines.append(
            f"| {' | '.join([row['switch'], row['metric'], *values, difference, seeds])} |"
        )
    return "\n".join(lines)


@house_style()
def _draw(rows: pd.DataFrame) -> Figure:
    """Draw the differences of C, a line a switch."""
    shown = rows[rows["metric"] == "C-index"].iloc[::-1]
    figure = new_figure(6.4, 0.6 + 0.36 * len(shown))
    axes = figure.add_subplot()
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for y, row in enumerate(shown.itertuples()):
        sure = row.low > 0 or row.high < 0
        axes.plot([row.low, row.high], [y, y], color=BLUE if sure else INK, solid_capstyle="butt")
        axes.plot(row.difference, y, "o", color=BLUE if sure else INK, markersize=5)
    axes.set_yticks(range(len(shown)), shown["switch"])
    axes.set_xlabel("test C: corrected minus legacy, with 95 % interval over patients")
    return figure


if __name__ == "__main__":
    main()
