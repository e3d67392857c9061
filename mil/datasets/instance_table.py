"""The classical sets (musk, elephant, ...) as one table: an instance a row."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mil.bags import Bag, BagError
from mil.datasets.base import InMemory


def instance_table(path: str | Path) -> InMemory:
    """Return the bags of a CSV without a header: label and name of the bag, then the features.

    Parameters
    ----------
    path : of the table; rows of a bag need not be together, and bags come in order of first rows.

    Raises
    ------
    mil.bags.BagError : a value that is no number, or a bag with two labels.
    """
    rows = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    numbers = rows.drop(columns=1).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        line, column = wrong[0]
        column = column + (column > 0)  # the name, left out, is the second
        raise BagError(
            [
                f"{Path(path).name}, line {line + 1}, column {column + 1}: "
                f"{rows.iat[line, column]!r} is no number."
            ]
        )
    bags = []
    for name, places in rows.groupby(1, sort=False).indices.items():
        labels = np.unique(numbers[places, 0])
        if len(labels) > 1:
            raise BagError(
                [f"{Path(path).name}: bag {name} has labels {labels.tolist()}; it must have one."]
            )
        features = torch.from_numpy(numbers[places, 1:].astype(np.float32))
        bags.append(Bag.single(features, str(name), label=torch.from_numpy(labels).long()))
    return InMemory(bags)
