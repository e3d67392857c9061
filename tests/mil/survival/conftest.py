"""Ten patients with known answers for every loss and metric (survival.md, section 9)."""

import numpy as np
import pytest


@pytest.fixture
def known():
    """Times t, events e, risks r, predicted times m, curves S on a grid, and a training part."""
    r = np.array([2, 1, 1, -0.3, 0.5, 0.2, -0.2, 0.1, -1, -0.3])
    rate = 0.1 * np.exp(0.5 * r)
    grid = np.array([3.0, 5, 7, 9])
    return {
        "t": np.array([2.0, 3, 3, 5, 6, 6, 8, 9, 11, 12]),
        "e": np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 0]),
        "r": r,
        "m": np.log(2) / rate,
        "train_t": np.array([1.0, 2, 4, 4, 5, 7, 7, 9, 10, 13, 14, 15]),
        "train_e": np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0]),
        "grid": grid,
        "S": np.exp(-rate[:, None] * grid),  # [patients, grid]
    }
