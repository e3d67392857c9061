"""Does a model respect the assumption of multiple-instance learning? Three tests, three seeds.

`python -m studies.algorithmic_unit_tests [model ...]` trains the models named, or all, writes their
rows into `studies/tables/algorithmic_unit_tests.csv` (those of others stay) and prints the table of
`docs/algorithmic-unit-tests.md`.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from mil.models import model_names
from mil.problems import InputError
from mil.table_writer import write_table
from studies.unit_test_training import SETS, unit_test

TABLE = Path(__file__).parent / "tables/algorithmic_unit_tests.csv"
COLUMNS = ["model", "test", "seed", "train_auc", "test_auc", "reason"]
PASS = 0.9
"""AUC that both the training and the test bags must have."""
BELOW = 0.4
"""Test AUC that is no chance: of 600 bags it is 0.50 with a standard deviation of 0.02."""


def main() -> None:
    """Train, write the table, print its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[*model_names(), []], metavar="model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args()
    for model in given.models or model_names():
        add(pd.DataFrame(judged(model, range(given.seeds)), columns=COLUMNS), given.table)
    print(describe(pd.read_csv(given.table)))


def add(rows: pd.DataFrame, path: Path) -> None:
    """Write the rows of a model into the table, in the place of those it had."""
    if path.exists():
        known = pd.read_csv(path)
        rows = pd.concat([known[~known["model"].isin(rows["model"])], rows])
    rows = rows.sort_values(["model", "test", "seed"], key=_order, kind="stable")
    cells = rows.astype(object).where(rows.notna(), "")
    write_table(path, COLUMNS, cells.itertuples(index=False))


def judged(model: str, seeds: Sequence[int]) -> Iterator[tuple]:
    """Yield a row of the table for each test and seed."""
    for name in SETS:
        for seed in seeds:
            try:
                yield model, name, seed, *unit_test(model, name, seed), ""
            except InputError as why:
                yield model, name, seed, math.nan, math.nan, why.problems[0]


def describe(table: pd.DataFrame) -> str:
    """Return the table as the page of the documentation shows it, means over seeds."""
    lines = [f"| model | {' | '.join(SETS)} | negative evidence |", "|---" * (len(SETS) + 2) + "|"]
    for model, rows in table.groupby("model", sort=True):
        if rows["test_auc"].isna().all():
            lines.append(f"| `{model}` | cannot read these bags | | | |")
            continue
        cells = [_cell(rows[rows["test"] == name]) for name in SETS]
        means = rows.groupby("test")["test_auc"].mean()
        used = "yes" if (means < BELOW).any() else "not seen"
        lines.append(f"| `{model}` | {' | '.join(cells)} | {used} |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame) -> str:
    """Return train and test AUC, bold where every seed passes."""
    each = rows[["train_auc", "test_auc"]]
    text = " / ".join(f"{value:.2f}" for value in each.mean())
    return f"**{text}**" if (each >= PASS).all(axis=None) else text


def _order(column: pd.Series) -> pd.Series:
    return column.map(list(SETS).index) if column.name == "test" else column


if __name__ == "__main__":
    main()
