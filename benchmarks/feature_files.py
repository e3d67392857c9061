"""Features as an encoder's, and files of them, for benchmarks of what comes after."""

import numpy as np

from wsi.storage import Outcome, write_h5

STEP = 1024  # level-0 pixels from patch to patch
KINDS, DIRECTIONS = 12, 20  # of tissue; in which its patches vary


def tissue_features(n: int, width: int = 1024, seed: int = 0) -> np.ndarray:
    """Return ``[n, width]`` float32: kinds of tissue of unequal size that run into each other."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(KINDS, n, p=rng.dirichlet(np.full(KINDS, 0.4)))
    centres = rng.gamma(1, 0.4, (KINDS, width))
    along = rng.normal(size=(n, DIRECTIONS)) * np.linspace(2, 0.3, DIRECTIONS)
    features = centres[kind] + along @ (rng.normal(size=(DIRECTIONS, width)) * 0.15)
    features += 0.15 * rng.normal(size=(n, width))
    return np.maximum(features, 0).astype(np.float32)


def disc_of_patches(n: int) -> np.ndarray:
    """Return ``[about n, 2]`` int64: a round piece of tissue, in regions of sixteen patches."""
    side = int(np.sqrt(n / 16 * 4 / np.pi)) + 2
    y, x = np.mgrid[:side, :side]
    inside = (x - side / 2) ** 2 + (y - side / 2) ** 2 <= n / 16 / np.pi
    j, i = np.divmod(np.arange(16), 4)
    corners = np.stack([x[inside], y[inside]], axis=1)[:, None] * 4
    return (corners + np.stack([i, j], axis=1)).reshape(-1, 2) * STEP


def write_features(path: str, features: np.ndarray, coords: np.ndarray) -> None:
    """Write a feature file as `extract_features` does."""
    write_h5(
        path,
        Outcome("S1", "extract_features"),
        {"features": features, "coords": coords},
        {"footprint0": STEP, "sha256": "0" * 64},
    )
