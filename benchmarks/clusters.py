"""k-means of a patient, and by its peers: `python benchmarks/clusters.py`.

Ten starts, eight clusters, 20,000 x 1024 single-precision features, one core each; the least of
`--repeats` counts, ours and scikit-learn's in turns. faiss runs where it is installed, with as many
iterations as scikit-learn's longest start. Then the job, `python -m mil cluster_patches`, start to
end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from feature_files import disc_of_patches, tissue_features, write_features
from threadpoolctl import threadpool_limits

from mil.kmeans import STARTS, kmeans

K, WIDTH = 8, 1024


def data(n: int) -> dict[str, np.ndarray]:
    """Return sets of features ``[n, 1024]``."""
    rng = np.random.default_rng(1)
    glass = tissue_features(n, seed=5)
    glass[rng.random(n) < 0.4] = 0.5
    return {
        "like tissue": tissue_features(n),
        "40 % bare glass": glass,
        "half precision": tissue_features(n, seed=6).astype(np.float16),
        "normal, no groups": rng.standard_normal((n, WIDTH), dtype=np.float32),
    }


def by_scikit_learn(algorithm: str) -> Callable:
    """Return a function to labels and iterations."""
    from sklearn.cluster import KMeans

    def cluster(features: np.ndarray) -> tuple[np.ndarray, int]:
        means = KMeans(K, n_init=STARTS, random_state=0, algorithm=algorithm)
        means.fit(features.astype(np.float32))
        return means.labels_, means.n_iter_

    return cluster


def by_faiss(features: np.ndarray) -> np.ndarray:
    """Return the labels of faiss."""
    import faiss

    faiss.omp_set_num_threads(1)
    every = 10**9  # points of a centre that are used: all
    means = faiss.Kmeans(WIDTH, K, niter=100, nredo=STARTS, seed=0, max_points_per_centroid=every)
    means.train(features.astype(np.float32))
    return means.index.search(features.astype(np.float32), 1)[1].ravel()


def inertia(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the sum of squared distances to the means of the clusters."""
    rows = features.astype(np.float64)
    groups = (rows[labels == j] for j in np.unique(labels))
    return sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups)


def timed(function: Callable, *arguments: object) -> tuple[float, object]:
    """Return the seconds of a call and what it returns."""
    start = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - start, found


def job(n: int) -> float:
    """Return the seconds of a job."""
    with tempfile.TemporaryDirectory() as folder:
        features, clusters = str(Path(folder, "S1.h5")), str(Path(folder, "P1.npz"))
        write_features(features, tissue_features(n), disc_of_patches(2 * n)[:n])
        command = [sys.executable, "-m", "mil", "cluster_patches", "patient_id=P1", 'slides=["S1"]']
        settings = (f'features=["{features}"]', f"clusters={clusters}", f"k={K}", "seed=42")
        one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        start = time.perf_counter()
        subprocess.run([*command, *settings], check=True, env=one)
        return time.perf_counter() - start


def main() -> None:
    """Print what is measured, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 5000, 20_000, 50_000])
    asked = parser.parse_args()
    for n in asked.jobs:
        print(f"{n} patches: job {job(n):.2f} s", flush=True)
    for name, features in data(asked.patches).items():
        with threadpool_limits(1):
            ours, lloyd = [], []
            for _ in range(asked.repeats):
                seconds, labels = timed(kmeans, features, K, 0)
                ours.append(seconds)
                seconds, (expected, iterations) = timed(by_scikit_learn("lloyd"), features)
                lloyd.append(seconds)
            least = inertia(features, expected)
            print(
                f"{name}: ours {min(ours):.2f} s; scikit-learn {min(lloyd):.2f} s, "
                f"{min(lloyd) / min(ours):.1f} times, {iterations} iterations; "
                f"inertia {inertia(features, labels) / least:.6f} of its",
                flush=True,
            )
            seconds, (found, _) = timed(by_scikit_learn("elkan"), features)
            print(f"  elkan {seconds:.2f} s, {inertia(features, found) / least:.6f}", flush=True)
            try:
                seconds, found = timed(by_faiss, features)
            except ModuleNotFoundError:
                continue
            print(f"  faiss {seconds:.2f} s, {inertia(features, found) / least:.6f}", flush=True)


if __name__ == "__main__":
    main()
