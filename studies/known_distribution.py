"""Does the adversarial head recover the distribution of the time? A simulation that knows it.

`python -m studies.known_distribution` writes `studies/tables/known_distribution.csv` and
`docs/images/known_distribution.svg`. Patients are of two groups that their bags tell apart. Times
of the first have one narrow peak, those of the second two peaks; nothing else differs between
patients. So the distribution of the time given the bag is known, and draws can be held against it.
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
from scipy.stats import wasserstein_distance

from mil.figures import BLUE, GREEN, MUTED, VERMILLION, house_style, new_figure, save_figure
from mil.seeds import seed_for
from mil.table_writer import write_table
from studies.known_times import (
    GROUPS,
    best_shift,
    density,
    draw,
    least_score,
    true_quantiles,
)
from studies.simulated_cohort import SimulatedCohort, write_cohort
from studies.trained import Trained, train

ROWS, WIDTH = 32, 32
PARTS = {"train": 320, "validation": 80, "test": 100}
CENSORED = 0.5
SIZES = {"hidden": 64, "out": 64}
HEADER = ["times", "what", "group", "w1", "w1_least", "w1_most", "median", "sd"]
TRAINING = {"epochs": 40, "patience": 40, "learning_rate": 1e-3}


@dataclass(frozen=True)
class Arm:
    """One way to train, and how it stands in the table."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    head: str = "adversarial"
    censored: bool = False  # trained a second time, on a cohort of which half is censored
    training: Mapping[str, Any] = field(default_factory=dict)  # what differs from the others'


GAME = {"noise": "1-1", "distribution": "gaussian", "dropout": 0.0}
"""What lets the head follow its opponent: noise in front of a hidden layer too, no dropout."""


def _game(
    name: str,
    weight: float,
    discriminator: str = "bce",
    generator: str = "non_saturating",
    censored: bool = False,
    **others: Any,
) -> Arm:
    losses = {"discriminator_loss": discriminator, "generator_loss": generator}
    options = {**GAME, "adversarial_weight": weight, **losses, **others}
    return Arm(name, options, censored=censored)


def _score(
    name: str,
    noise: str,
    weight: float = 0.0,
    censored: bool = False,
    training: Mapping[str, Any] = {},
    **others: Any,
) -> Arm:
    options = {**GAME, "noise": noise, "adversarial_weight": weight, **SCORE, **others}
    return Arm(name, options, censored=censored, training=training)


SCORE = {"norm": "crps", "training_draws": 16}


def _longer(decay: float) -> dict[str, Any]:
    """Return what gives a shape time: it is learnt late, when patients are known by heart."""
    training = {"epochs": 120, "patience": 120, "weight_decay": decay}
    return {"training": training, "layer_norm": True}


PUBLISHED, EARLY = "published", "free, but 1-0, weight 1"
SCORED = "score, 1-1-1, longer, decay 0.01"
DRAWN = {PUBLISHED: "published: 0-1", EARLY: "free, but 1-0", SCORED: "score: 1-1-1, decay 0.01"}
ARMS = (
    Arm("time head", head="time", censored=True),
    Arm(PUBLISHED, censored=True),
    Arm("published, but weight 0: no opponent", {"adversarial_weight": 0}),
    Arm("published, but gaussian", {"distribution": "gaussian"}),
    Arm("published, but 1-0", {"noise": "1-0"}),
    Arm("published, but 1-1", {"noise": "1-1"}),
    Arm("published, but 1-1 and gaussian", {"noise": "1-1", "distribution": "gaussian"}),
    _game("free, weight 0.004", 0.004),
    _game("free, weight 0.1", 0.1),
    _game("free, weight 1", 1.0, censored=True),
    _game("free, weight 10", 10.0),
    _game("free, weight 1, bce and mean_logit", 1.0, "bce", "mean_logit"),
    _game("free, weight 1, hinge and mean_logit", 1.0, "hinge", "mean_logit"),
    _game("free, weight 1, wasserstein and mean_logit", 1.0, "wasserstein", "mean_logit"),
    _game("free, weight 1, bce_legacy and mean_logit", 1.0, "bce_legacy", "mean_logit"),
    _game("free, but 0-1, weight 1", 1.0, noise="0-1"),
    _game(EARLY, 1.0, noise="1-0", censored=True),
    _game("free, but 1-0, weight 10", 10.0, noise="1-0"),
    _game("free, but 1-0, weight 1, hinge and mean_logit", 1.0, "hinge", "mean_logit", noise="1-0"),
    _game("free, but uniform, weight 1", 1.0, distribution="uniform"),
    _game("free, but dropout 0.6, weight 1", 1.0, dropout=0.6),
    _score("score, 0-1", "0-1"),
    _score("score, 1-0", "1-0"),
    _score("score, 1-1", "1-1", censored=True),
    _score("score, 1-1, weight 0.004", "1-1", 0.004),
    _score("score, 1-1-1, longer", "1-1-1", censored=True, **_longer(0.03)),
    _score(SCORED, "1-1-1", censored=True, **_longer(0.01)),
)
"""``published`` is 0-1, uniform, weight 0.004, dropout 0.6, bce and mean_logit; ``free`` is `GAME`
with bce and non_saturating; ``score`` is `GAME` with `SCORE` and no opponent unless a weight is
named; ``longer`` is `_longer` with a decay of 0.03 unless another is named."""


def main() -> None:
    """Train every arm with every seed, unless done; write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="data/studies/known_distribution", help="may be deleted")
    parser.add_argument("--table", default="studies/tables/known_distribution.csv")
    parser.add_argument("--figure", default="docs/images/known_distribution.svg")
    options = parser.parse_args()
    run(options.work, options.table, options.figure, seeds=(1, 2, 3))


def run(
    work: str | Path,
    table: str | Path,
    figure: str | Path,
    seeds: Sequence[int],
    training: Mapping[str, Any] = TRAINING,
    parts: Mapping[str, int] = PARTS,
    arms: Sequence[Arm] = ARMS,
) -> None:
    """Do the study.

    Parameters
    ----------
    work : folder of the simulated bags and the trainings; one that was cut off goes on there.
    table, figure : outputs, CSV and SVG. Arms that the table has are not trained again, but for
        what the figure shows of them: delete it to begin anew.
    seeds : of the trainings; the bags and times stay.
    training : settings of every arm.
    parts : patients in each part of the one fold.
    arms : those to train; the figure needs those of `DRAWN`.
    """
    torch.set_num_threads(1)
    rows, drawn, done = [], {}, _done(table)
    for name, censored in (("all seen", False), ("censored", True)):
        cohort = simulate(Path(work) / name.replace(" ", "_"), censored, parts)
        rows += [[name, *row] for row in _references(cohort)]
        for arm in (one for one in arms if one.censored or not censored):
            found = done.get((name, arm.name))
            if found is None:
                trained = [_train(cohort, arm, seed, training) for seed in seeds]
                found = _rows(arm.name, [_draws(one) for one in trained])
            rows += [[name, *row] for row in found]
            if arm.name in DRAWN and not censored:
                drawn[arm.name] = _train(cohort, arm, seeds[0], training)
            print(f"{name}, {arm.name}", flush=True)
    write_table(table, HEADER, rows)
    save_figure(_draw(drawn), figure)
    for name in ("all seen", "censored"):
        print(f"\n{name}\n\n{describe(pd.read_csv(table), name)}")


def _done(table: str | Path) -> dict[tuple[str, str], list[list[object]]]:
    """Return the rows of a table that there is, without their first column, by times and arm."""
    if not Path(table).exists():
        return {}
    found = pd.read_csv(table).groupby(["times", "what"], sort=False)
    return {key: rows[HEADER[1:]].to_numpy(dtype=object).tolist() for key, rows in found}


def _train(cohort: SimulatedCohort, arm: Arm, seed: int, training: Mapping[str, Any]) -> Trained:
    return train(
        cohort,
        0,
        seed,
        model="abmil",
        head=arm.head,
        training={**training, **arm.training},
        model_options=SIZES,
        head_options=arm.options,
    )


def simulate(work: Path, censored: bool, parts: Mapping[str, int] = PARTS) -> SimulatedCohort:
    """Write a cohort; patients take turns in the groups.

    Half the rows of a bag are shifted along one direction, up in the first group and down in the
    second. Censoring, where wanted, is uniform up to a bound at which half the events are missed.
    """
    random = np.random.default_rng(seed_for(0, "known distribution"))
    n = sum(parts.values())
    ids = [f"P{i:03d}" for i in range(n)]
    group = np.arange(n) % 2
    failed = np.where(group == 0, *(draw(name, n, random) for name in GROUPS))
    sign = np.where(group == 0, 1.0, -1.0)
    bags = {}
    for i, patient in enumerate(ids):
        rows = random.standard_normal((ROWS, WIDTH))
        rows[: ROWS // 2, :8] += sign[i]
        bags[patient] = random.permutation(rows).astype(np.float32)
    follow_up = random.uniform(0, 1, n) * (_follow_up_bound(failed) if censored else np.inf)
    labels = pd.DataFrame(
        {
            "patient_id": ids,
            "time": np.minimum(failed, follow_up),
            "event": (failed <= follow_up).astype(int),
        }
    )
    part = np.repeat(list(parts), list(parts.values()))
    return write_cohort(work, bags, labels, [dict(zip(ids, part, strict=True))])


def _follow_up_bound(failed: NDArray[np.float64]) -> float:
    """Return B for which a time uniform on [0, B] is before the event for half the patients."""
    bounds = np.linspace(failed.min(), 20 * failed.max(), 20_000)
    missed = np.minimum(failed / bounds[:, None], 1).mean(1)
    return float(bounds[np.argmin(np.abs(missed - CENSORED))])


def _draws(trained: Trained) -> dict[str, NDArray[np.float64]]:
    """Return the draws of the test patients by group, [n, K]; of a time head the one time."""
    test, draws = trained.test, trained.test_draws
    if not draws.shape[1]:
        draws = test[["predicted_time"]].to_numpy()
    group = test["patient_id"].str[1:].astype(int) % 2
    return {name: draws[group == k] for k, name in enumerate(GROUPS)}


def _rows(what: str, samples: Sequence[Mapping[str, NDArray[np.float64]]]) -> list[list[object]]:
    """Return a row for each group: distance of a patient's draws to the truth, median, SD.

    Parameters
    ----------
    what : name of the row.
    samples : of every seed, draws [n, K] by group.
    """
    rows = []
    for name in GROUPS:
        truth = true_quantiles(name)
        distances = [
            float(np.mean([wasserstein_distance(draws, truth) for draws in seed[name]]))
            for seed in samples
        ]
        every = np.concatenate([seed[name] for seed in samples])
        rows.append(
            [
                *(what, name, float(np.mean(distances)), min(distances), max(distances)),
                *(float(np.median(every, axis=1).mean()), float(every.std(axis=1).mean())),
            ]
        )
    return rows


def _references(cohort: SimulatedCohort) -> list[list[object]]:
    """Return the rows that need no training: what could be reached at best, and with no bag."""
    labels = pd.read_csv(cohort.tables["patients"])
    fold = pd.read_csv(cohort.fold(0))
    of_training = labels[(fold["part"] == "train").to_numpy()]
    seen = of_training[of_training["event"] == 1]
    random = np.random.default_rng(seed_for(0, "known distribution", "references"))
    group = seen["patient_id"].str[1:].astype(int) % 2
    samples = {
        "truth": {name: true_quantiles(name)[None] for name in GROUPS},
        "200 draws from the truth": {
            name: draw(name, 200 * 200, random).reshape(200, 200) for name in GROUPS
        },
        "best of one shape, shifted (0-1)": best_shift(float(of_training["time"].max())),
        "event times of the training patients of the group": {
            name: seen["time"].to_numpy()[None, group == k] for k, name in enumerate(GROUPS)
        },
        "event times of all training patients": {
            name: seen["time"].to_numpy()[None] for name in GROUPS
        },
    }
    if (of_training["event"] == 0).any():  # otherwise these are the event times
        group = of_training["patient_id"].str[1:].astype(int) % 2
        samples["least score of the training patients of the group"] = {
            name: least_score(*of_training.loc[group == k, ["time", "event"]].to_numpy().T)[None]
            for k, name in enumerate(GROUPS)
        }
    return [row for what, found in samples.items() for row in _rows(what, [found])]


def describe(table: pd.DataFrame, times: str) -> str:
    """Return the rows of one cohort as the page of the documentation shows them."""
    shown = table[table["times"] == times]
    lines = [
        "| | distance | median | SD | distance | median | SD |",
        "|---|---|---|---|---|---|---|",
    ]
    for what in shown["what"].unique():
        cells = [what]
        for name in GROUPS:
            row = shown[(shown["what"] == what) & (shown["group"] == name)].iloc[0]
            spread = (
                f" ({row.w1_least:.1f}-{row.w1_most:.1f})" if row.w1_most > row.w1_least else ""
            )
            cells += [f"{row.w1:.1f}{spread}", f"{row['median']:.0f}", f"{row.sd:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@house_style()
def _draw(drawn: Mapping[str, Trained]) -> Figure:
    """Draw, for three arms, draws against the truth by group, and their shape before softplus."""
    figure = new_figure(7.6, 5.6)
    axes = figure.subplots(3, len(drawn), sharey="row")
    bins = np.linspace(0, 120, 61)
    for column, (arm, trained) in zip(axes.T, drawn.items(), strict=True):
        draws = _draws(trained)
        for ax, name, colour in zip(column, GROUPS, (BLUE, VERMILLION), strict=False):
            grid = np.linspace(0, 120, 600)
            heights, _ = np.histogram(draws[name], bins, density=True)
            ax.stairs(heights, bins, fill=True, color=colour, alpha=0.55)
            ax.plot(grid, density(name, grid), color=GREEN, label="truth")
            ax.set_xlabel("time, months")
            logit = np.log(np.expm1(draws[name] / trained.t_ref))
            centred = np.sort(logit - np.median(logit, axis=1, keepdims=True), axis=1).mean(0)
            level = (np.arange(len(centred)) + 0.5) / len(centred)
            column[2].plot(centred, level, color=colour, label=name)
        column[0].set_title(DRAWN[arm])
        column[2].set_xlabel("output before softplus,\nless its median")
        column[2].axvline(0, color=MUTED, linewidth=0.6)
    for ax, label in zip(axes[:, 0], (*GROUPS, "share of draws below"), strict=True):
        ax.set_ylabel(label)
    axes[0, -1].legend()
    axes[2, -1].legend()
    return figure


if __name__ == "__main__":
    main()
