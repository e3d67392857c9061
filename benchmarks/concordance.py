"""Harrell's C and its bootstrap: `python benchmarks/concordance.py`.

The C of 10,000 patients beside that of lifelines, and 1,000 bootstrap draws of five folds of 100
patients beside a loop that repeats patients. The numbers are the same; seconds of the core, the
least of three.
"""

import time
from collections.abc import Callable

import numpy as np
from lifelines.utils import concordance_index

from mil.survival.metrics import bootstrap_concordance, harrell_c
from mil.survival.metrics.bootstrap import resample_counts

DRAWS = 1000


def main() -> None:
    """Print both comparisons."""
    time_, event, risk = patients(10_000, 0)
    ours, c = measured(lambda: harrell_c(time_, event, risk).value)
    theirs, known = measured(lambda: concordance_index(time_, -risk, event))
    assert abs(c - known) < 1e-12
    print(
        f"C of 10,000 patients: {ours:.3f} s, lifelines {theirs:.3f} s, {theirs / ours:.1f} times"
    )

    folds = [patients(100, seed) for seed in range(5)]
    ours, draws = measured(lambda: bootstrap_concordance(folds, DRAWS, 0).folds)
    theirs, known = measured(lambda: looped(folds))
    np.testing.assert_allclose(draws, known, rtol=1e-12)
    print(f"{DRAWS} draws: {ours:.2f} s, a loop {theirs:.2f} s, {theirs / ours:.1f} times")


def patients(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times with ties, events and risks."""
    random = np.random.default_rng(seed)
    risk = random.normal(size=count)
    return np.ceil(random.exponential(10 * np.exp(-risk))), random.integers(0, 2, count), risk


def looped(folds: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Return C [DRAWS, folds] of patients repeated as often as drawn."""
    found = np.empty((DRAWS, len(folds)))
    for k, fold in enumerate(folds):
        for i, counts in enumerate(resample_counts(len(fold[0]), DRAWS, 0, k).astype(int)):
            found[i, k] = harrell_c(*(np.repeat(x, counts) for x in fold)).value
    return found


def measured(work: Callable[[], object], repeats: int = 3) -> tuple[float, object]:
    """Return the least seconds of the core, and what came out."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


if __name__ == "__main__":
    main()
