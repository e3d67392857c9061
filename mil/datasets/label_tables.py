"""Labels and splits of bags from tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mil.bags import BagError
from mil.problems import did_you_mean, listed


def read_labels(
    table: str | Path, name: str, label: str, classes: Sequence[str] | None = None
) -> dict[str, float]:
    """Return labels by name of the bag as the table has it.

    Parameters
    ----------
    table : CSV with a row for each bag.
    name, label : its columns.
    classes : what is in the column of labels, in the order of their numbers from 0; without it
        labels are numbers.

    Raises
    ------
    mil.bags.BagError : a missing column, a label that is no class or number, or two for one bag.
    """
    rows = _read(table, name, label)
    labels: dict[str, float] = {}
    problems = []
    for line, (bag, value) in enumerate(zip(rows[name], rows[label], strict=True), 2):
        where = f"{Path(table).name}, line {line}, bag {bag}"
        try:
            number = _number(value, classes)
        except ValueError:
            known = f"one of {', '.join(classes)}" if classes else "a number (or give classes)"
            problems.append(f"{where}: {label} is {value!r}; it must be {known}.")
            continue
        if labels.setdefault(bag, number) != number:
            problems.append(f"{where}: a second label, {value}. One row a bag.")
    if problems:
        raise BagError(problems)
    return labels


def read_split(table: str | Path, split: str) -> list[str]:
    """Return the names of the bags of a split, sorted, from columns ``bag_name`` and ``split``.

    Raises
    ------
    mil.bags.BagError : a missing column, or no bag of this split.
    """
    rows = _read(table, "bag_name", "split")
    names = sorted(rows["bag_name"][rows["split"] == split])
    if not names:
        there = sorted(set(rows["split"]))
        raise BagError(
            [f"{Path(table).name}: no bag of split {split!r}; there are {', '.join(there)}."]
        )
    return names


def labels_of(labels: Mapping[str, float], names: Sequence[str], table: str | Path) -> dict:
    """Return the labels of bags by their names, which the table may have with an extension.

    Raises
    ------
    mil.bags.BagError : bags that the table does not have; the sentence names them.
    """
    by_stem = {Path(name).stem: value for name, value in labels.items()}
    missing = [name for name in names if name not in labels and name not in by_stem]
    if missing:
        raise BagError(
            [
                f"{Path(table).name}: no row for {len(missing)} of {len(names)} bags: "
                f"{listed(missing)}."
            ]
        )
    return {name: labels[name] if name in labels else by_stem[name] for name in names}


def _read(table: str | Path, *columns: str) -> pd.DataFrame:
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    problems = [
        f"{Path(table).name}: no column {column!r}{did_you_mean(column, rows.columns) or '.'} "
        f"It has {listed(rows.columns)}."
        for column in columns
        if column not in rows
    ]
    if problems:
        raise BagError(problems)
    return rows


def _number(value: str, classes: Sequence[str] | None) -> float:
    if classes is not None:
        return classes.index(value)
    number = float(value)
    return int(number) if number.is_integer() else number
