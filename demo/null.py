"""Hold a run on permuted labels against chance."""

import csv
import re
from collections import defaultdict
from pathlib import Path

CHANCE = (0.35, 0.65)  # mean test C-index over folds and permutations


def check_null(results: Path) -> tuple[str, bool]:
    """Return what permuted labels gave, in words, and whether every experiment is near chance.

    Parameters
    ----------
    results : folder with ``evaluation/null/comparison.csv`` (target ``null``); experiments there
        are called ``<name>.permuted<repeat>``.

    Raises
    ------
    FileNotFoundError : with a sentence, where the target was not run.
    """
    path = results / "evaluation" / "null" / "comparison.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; run `snakemake --cores all null` first.")
    found: dict[str, list[float]] = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            found[re.sub(r"\.permuted\d+$", "", row["experiment"])].append(float(row["c_index"]))
    lines, passed = ["Permuted labels: mean test C-index over folds and permutations"], True
    for name, values in sorted(found.items()):
        mean = sum(values) / len(values)
        near = CHANCE[0] <= mean <= CHANCE[1]
        passed &= near
        each = ", ".join(f"{value:.3f}" for value in values)
        lines.append(f"  {name:16} {mean:.3f} ({each}){'' if near else '  NOT near chance'}")
    lines.append(f"  {'passed' if passed else 'NOT PASSED'} ({CHANCE[0]} to {CHANCE[1]})")
    return "\n".join(lines), passed
