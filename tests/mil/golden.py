"""Golden values of the specifications: where they lie, and what parameters they were made with."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "../shared/spec/golden"


def golden(name):
    """What a file says; the test is skipped where the files are not."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name}: golden values of the specifications are not here")
    return json.loads(path.read_text())


def golden_parameters(shapes, norm_weights=(), exceptions=None):
    """Parameters of the original by name, filled by the rule of the specifications.

    `shapes` has the shape of each by its name; `exceptions` a function of the random numbers of
    those that follow no rule.
    """
    exceptions = exceptions or {}
    filled = {}
    for k, name in enumerate(sorted(shapes)):
        g = np.random.RandomState(1000 + k).standard_normal(tuple(shapes[name]))
        if name in exceptions:
            g = exceptions[name](g)
        elif len(shapes[name]) >= 2:
            g = g / np.sqrt(np.prod(shapes[name][1:]))
        else:
            g = 1 + 0.1 * g if name in norm_weights else 0.1 * g
        filled[name] = torch.as_tensor(g, dtype=torch.float64)
    return filled


def take_over(module, values):
    """Give a module its parameters in float64; each must get one, of its shape."""
    module.double()
    parameters = dict(module.named_parameters())
    assert sorted(values) == sorted(parameters)
    with torch.no_grad():
        for name, value in values.items():
            assert parameters[name].shape == value.shape, name
            parameters[name].copy_(value)


def renamed(values, names):
    """Values by our names; `names` maps the original's prefixes to ours, None to leave out."""
    found = {}
    for name, value in values.items():
        prefix = max((p for p in names if name == p or name.startswith(f"{p}.")), key=len)
        if names[prefix] is not None:
            found[names[prefix] + name[len(prefix) :]] = value
    return found


def eight_neighbours(rows=8, columns=8):
    """Edges [2, E] between the cells of a grid whose rows and columns differ by at most 1."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    near = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) == 1
    return torch.from_numpy(np.stack(np.nonzero(near)))
