"""Graphs of slides, and how near they come to the machine's limit: `python benchmarks/graphs.py`.

- job: `python -m mil build_graph` on one core, start to end, spatial edges only and both;
- space: `spatial_neighbours` beside a bare query of SciPy's KD-tree for nine points;
- features: `latent_neighbours` beside the product of all rows with all, which no exact way avoids,
  scikit-learn's, PyTorch's product and topk, and faiss where it is installed. Each on one core.

The best of `--repeats` counts. Neighbours are compared, row by row.
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
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from mil.neighbours import BLOCK, latent_neighbours, spatial_neighbours

K = 8


def best(repeats: int, function: Callable, *arguments: object) -> tuple[float, object]:
    """Return the least seconds that a call takes, and what it returns."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = function(*arguments)
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def job(features: str, graph: str, latent: bool) -> None:
    """Build the graph of a slide as the workflow does."""
    settings = (f"features={features}", f"graph={graph}", f"latent={str(latent).lower()}")
    command = [sys.executable, "-m", "mil", "build_graph", "slide_id=S1", f"neighbours={K}"]
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*command, *settings], check=True, env=one)


def bare_query(coords: np.ndarray) -> None:
    """Ask SciPy's tree for the nearest points, oneself among them, in any order of ties."""
    cKDTree(coords).query(coords, k=K + 1)


def products(features: np.ndarray) -> None:
    """Multiply all rows with all."""
    for start in range(0, len(features), BLOCK):
        features[start : start + BLOCK] @ features.T


def by_scikit_learn(features: np.ndarray) -> np.ndarray:
    """Return the neighbours by scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(features)
    return nearest.kneighbors(features, return_distance=False)[:, 1:]


def by_torch(features: np.ndarray) -> np.ndarray:
    """Return the neighbours by a product in single precision and topk."""
    import torch

    torch.set_num_threads(1)
    rows = torch.from_numpy(features)
    half = (rows * rows).sum(1) / 2
    found = [
        (half - rows[start : start + BLOCK] @ rows.T).topk(K + 1, largest=False).indices
        for start in range(0, len(rows), BLOCK)
    ]
    return torch.cat(found).numpy()[:, 1:]


def by_faiss(features: np.ndarray) -> np.ndarray:
    """Return the neighbours by faiss' flat index."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features)
    return index.search(features, K + 1)[1][:, 1:]


def main() -> None:
    """Print what is measured, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patches", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--latent", type=int, nargs="+", default=[5000, 20_000])
    asked = parser.parse_args()
    for n in asked.patches:
        coords = disc_of_patches(n)
        with tempfile.TemporaryDirectory() as folder:
            features, graph = str(Path(folder, "S1.h5")), str(Path(folder, "S1.npz"))
            write_features(features, np.zeros((len(coords), 1024), np.float16), coords)
            whole, _ = best(asked.repeats, job, features, graph, False)
        space, _ = best(asked.repeats, spatial_neighbours, coords, K)
        bare, _ = best(asked.repeats, bare_query, coords)
        print(
            f"{len(coords)} patches: job {whole:.2f} s; space {space:.3f} s, KD-tree {bare:.3f} s"
        )
    for n in asked.latent:
        features = tissue_features(n)
        with tempfile.TemporaryDirectory() as folder:
            path, graph = str(Path(folder, "S1.h5")), str(Path(folder, "S1.npz"))
            write_features(path, features, disc_of_patches(2 * n)[:n])
            whole, _ = best(asked.repeats, job, path, graph, True)
        with threadpool_limits(1):
            ours, expected = best(asked.repeats, latent_neighbours, features, K)
            floor, _ = best(asked.repeats, products, features)
            print(f"{n} x 1024: job {whole:.2f} s; features {ours:.2f} s; products {floor:.2f} s")
            for other in (by_scikit_learn, by_torch, by_faiss):
                try:
                    seconds, found = best(asked.repeats, other, features)
                except ModuleNotFoundError:
                    print(f"  {other.__name__}: not installed")
                    continue
                same = (found == expected).all(axis=1).mean()
                print(f"  {other.__name__}: {seconds:.2f} s, {same:.4%} of rows the same")


if __name__ == "__main__":
    main()
