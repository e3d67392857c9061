"""Seconds for the graph of a grid of patches, and for its weights, against SciPy's KD-tree.

`python benchmarks/adjacency.py` joins patches of a round piece of tissue to their 8 neighbours, by
sorted cells (`mil.data.grid_edges`), by SciPy's tree on the same cells (with a list of pairs, and
with an array), and weighs the edges by features of 256 columns. All on one core.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from feature_files import disc_of_patches
from scipy.spatial import cKDTree

from mil.bags import Bag
from mil.data import delaunay_edges, grid_edges, joined, nearest_edges
from mil.nn.adjacency import bag_graph
from mil.nn.grid_positions import grid_positions

WIDTH = 256


def best(repeats: int, function: Callable, *arguments: object) -> tuple[float, object]:
    """Return the least seconds of a core that a call takes, and what it returns."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        found = function(*arguments)
        seconds.append(time.process_time() - start)
    return min(seconds), found


def by_tree(cells: np.ndarray) -> np.ndarray:
    """Return pairs [E / 2, 2] at most 1.5 steps apart, each once."""
    return cKDTree(cells).query_pairs(1.5, output_type="ndarray")


def by_tree_and_loop(cells: np.ndarray) -> list[tuple[int, int]]:
    """Return the edges in both directions, one after the other, as Python does."""
    edges = []
    for i, neighbours in enumerate(cKDTree(cells).query_ball_point(cells, 1.5)):
        edges += [(i, j) for j in neighbours if i != j]
    return edges


def main() -> None:
    """Print what is measured, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patches", type=int, nargs="+", default=[10_000, 100_000])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for n in asked.patches:
        coords = torch.from_numpy(disc_of_patches(n))
        features = torch.randn(len(coords), WIDTH, generator=torch.Generator().manual_seed(0))
        bag = Bag.single(features, coords=coords)
        cells = grid_positions(bag, "benchmark").numpy()
        ours, edges = best(asked.repeats, grid_edges, bag)
        places, _ = best(asked.repeats, grid_positions, bag, "benchmark")
        tree, pairs = best(asked.repeats, by_tree, cells)
        loop, listed = best(1, by_tree_and_loop, cells)
        weights, weighted = best(asked.repeats, joined, bag, edges, "gaussian")
        sparse, _ = best(asked.repeats, lambda: bag_graph(weighted, "benchmark").normalised())  # noqa: B023
        nearest, _ = best(1, nearest_edges, bag)
        triangles, _ = best(1, delaunay_edges, bag)
        assert {*map(tuple, edges.T.tolist())} == {*listed}
        assert 2 * len(pairs) == edges.shape[1]
        print(
            f"{len(coords)} patches, {edges.shape[1]} edges: sorted cells {ours:.3f} s (of it "
            f"places {places:.3f}); tree {tree:.3f} s, tree and loop {loop:.2f} s; gaussian "
            f"weights {weights:.3f} s; symmetric, normalised {sparse:.3f} s; 8 nearest "
            f"{nearest:.3f} s; Delaunay {triangles:.3f} s"
        )


if __name__ == "__main__":
    main()
