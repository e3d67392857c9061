"""Accuracy of models on the classical sets musk1 and elephant, beside published figures.

`python -m studies.classical_mil --data ../shared/data/features` goes through five repeats of ten
folds and keeps the rows of `studies/tables/classical_mil.csv`; models already there are trained
again only where they are named: `--models abmil dsmil`.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mil.bags import pack
from mil.datasets import BagDataset, instance_table
from mil.mil_model import MILModel
from mil.network import FeatureScaling
from mil.seeds import seed_for
from mil.table_writer import write_table

SETS = ("musk1", "elephant")
HIDDEN = {"hidden": 64, "dropout": 0.25}
TRAINING = {"epochs": 40, "learning_rate": 1e-3, "weight_decay": 5e-3, "batch": 4}
FOLDS, REPEATS = 10, 5
DRAWS = 2000  # of bags, for the interval


@dataclass(frozen=True)
class Arm:
    """A model with its options, and what has been published for it by set: mean and error."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)


ATTENTION = {**HIDDEN, "out": None, "attention": 64}
ARMS = {
    "abmil": Arm(
        "abmil",
        {**ATTENTION, "gated": False},
        {"musk1": (0.892, 0.040), "elephant": (0.868, 0.022)},
    ),
    "abmil gated": Arm(
        "abmil",
        {**ATTENTION, "gated": True},
        {"musk1": (0.900, 0.050), "elephant": (0.857, 0.027)},
    ),
    "dsmil": Arm("dsmil"),
    "mean": Arm("mean", HIDDEN),
    "max": Arm("max", HIDDEN),
    "instance max": Arm("instance_max", HIDDEN),
    "monotone": Arm("monotone"),
}
HEADER = (
    "set",
    "model",
    "bags",
    "accuracy",
    "error",
    "low",
    "high",
    "auc",
    "published",
    "published_error",
)


def deal(labels: NDArray, folds: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold of every bag: classes are shuffled and dealt out one behind the other."""
    line = np.concatenate([random.permutation(np.flatnonzero(labels == c)) for c in (0, 1)])
    fold = np.empty(len(labels), np.int64)
    fold[line] = np.arange(len(labels)) % folds
    return fold


def train(arm: Arm, bags: BagDataset, seed: int, training: Mapping[str, Any]) -> MILModel:
    """Return the arm's model, trained on bags; features are standardised on their instances."""
    together = pack(list(bags))
    torch.manual_seed(seed)
    model = MILModel.build(arm.model, together.features.shape[1], classes=2, **arm.options)
    scaling = FeatureScaling(together.features.shape[1])
    scaling.set(together.features.mean(0), together.features.std(0, correction=0))
    model.network.scaling = scaling
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=training["learning_rate"],
        weight_decay=training["weight_decay"],
        fused=True,
    )
    random = np.random.default_rng(seed)
    for _ in range(training["epochs"]):
        for batch in batches(len(bags), training["batch"], random):
            optimiser.zero_grad()
            model.of_bag(pack([bags[index] for index in batch])).loss.backward()
            optimiser.step()
    return model.eval()


def batches(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of the bags of each step of an epoch."""
    order = random.permutation(count)
    return (order[start : start + size] for start in range(0, count, size))


def probabilities(
    arm: Arm, bags: BagDataset, name: str, repeats: int, training: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Return the probability [repeats, bags] of the positive class, from the fold a bag is in."""
    labels = bags.labels.numpy()
    found = np.empty((repeats, len(bags)))
    for repeat in range(repeats):
        random = np.random.default_rng(seed_for(1, "classical_mil", name, repeat))
        fold = deal(labels, FOLDS, random)
        for number in range(FOLDS):
            test = np.flatnonzero(fold == number)
            seed = seed_for(1, "classical_mil", name, repeat, number)
            model = train(arm, bags.subset(np.flatnonzero(fold != number)), seed, training)
            with torch.no_grad():
                output = model.of_bag(pack([bags[index] for index in test]))
            told = model.network.head.predict(output.logits)
            found[repeat, test] = told.probability[:, 1]
    return found


def row(name: str, arm_name: str, probability: NDArray, labels: NDArray) -> list[object]:
    """Return a row of the table; its interval is over bags, drawn with all their repeats."""
    right = (probability > 0.5) == (labels == 1)  # [repeats, bags]
    each = right.mean(axis=1)
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.nan
    random = np.random.default_rng(seed_for(1, "classical_mil", "interval"))
    drawn = right.mean(axis=0)[random.integers(len(labels), size=(DRAWS, len(labels)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    ranked = np.mean([rank_auc(one, labels) for one in probability])
    published = ARMS[arm_name].published.get(name, (np.nan, np.nan))
    numbers = (each.mean(), error, low, high, ranked, *published)
    return [name, arm_name, len(labels), *map(float, numbers)]


def rank_auc(score: NDArray, labels: NDArray) -> float:
    """Return the share of pairs of a positive and a negative bag in the right order, ties half."""
    apart = score[labels == 1][:, None] - score[labels == 0]
    return float((apart > 0).mean() + (apart == 0).mean() / 2)


def run(
    data: Path,
    table: Path,
    arms: Sequence[str],
    sets: Sequence[str] = SETS,
    repeats: int = REPEATS,
    training: Mapping[str, Any] = TRAINING,
) -> None:
    """Train the arms on the sets and enter their rows into the table."""
    torch.set_num_threads(1)
    rows: dict[tuple[str, str], list[object]] = {}
    if table.exists():
        for known in pd.read_csv(table).itertuples(index=False):
            rows[known[0], known[1]] = list(known)
    for name in sets:
        bags = instance_table(data / f"{name}.csv")
        for arm in arms:
            found = probabilities(ARMS[arm], bags, name, repeats, training)
            rows[name, arm] = row(name, arm, found, bags.labels.numpy())
            print(*rows[name, arm])
            order = sorted(rows, key=lambda key: (SETS.index(key[0]), list(ARMS).index(key[1])))
            write_table(table, HEADER, [_written(rows[key]) for key in order])


def _written(cells: Sequence[object]) -> list[object]:
    """Return a row as it is written: nothing where nothing is known."""
    return ["" if isinstance(cell, float) and np.isnan(cell) else cell for cell in cells]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/features"))
    parser.add_argument("--table", type=Path, default=Path("studies/tables/classical_mil.csv"))
    parser.add_argument("--models", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args()
    run(asked.data, asked.table, asked.models, asked.sets, asked.repeats)


if __name__ == "__main__":
    main()
