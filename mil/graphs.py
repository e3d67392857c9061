"""Graphs of a slide: nearest neighbours in space and among features."""

import numpy as np
from scipy.spatial import cKDTree

from wsi.outcome import slide_stage
from wsi.storage import Outcome, read_features, save_npz, sha256_arrays

BLOCK = 1024  # rows compared with all others at once; bounds memory to BLOCK x N distances
SPARE = 16  # candidates beyond k that are ranked exactly
ROUNDING = 1e-5  # of squared distances in single precision, relative to the squared norms


@slide_stage(writes=("graph",), after="features")
def build_graph(*, slide_id: str, features: str, graph: str, neighbours: int) -> None:
    """Join every patch of one slide to its nearest neighbours (specification advmil 1.6).

    Parameters
    ----------
    slide_id, features : name of the slide and its feature file, N patches.
    graph : npz to write: ``edge_index`` ``[2, E]`` (space), ``edge_latent`` ``[2, E]``
        (features), ``centroid`` ``[N, 2]`` (centres, level-0 pixels).
    neighbours : number of neighbours of a patch; all others where there are fewer.
    """
    rows, coords, attributes = read_features(features)
    arrays = {
        "edge_index": edges(spatial_neighbours(coords, neighbours)),
        "edge_latent": edges(latent_neighbours(rows, neighbours)),
        "centroid": (coords + float(attributes["footprint0"]) / 2).astype(np.float32),
    }
    described = {
        "neighbours": neighbours,
        "features_sha256": attributes["sha256"],
        "sha256": sha256_arrays(*arrays.values()),
    }
    save_npz(graph, Outcome(slide_id, "build_graph"), described, **arrays)


def edges(neighbours: np.ndarray) -> np.ndarray:
    """Return ``[2, N k]`` int64 from ``[N, k]``: the querying node, then its neighbour by rank."""
    n, k = neighbours.shape
    return np.stack([np.repeat(np.arange(n), k), neighbours.ravel()]).astype(np.int64)


def spatial_neighbours(coords: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest points of each point, exactly.

    Parameters
    ----------
    coords : ``[N, 2]``, any unit.
    k : number of neighbours; N - 1 if that is less.

    Returns
    -------
    ``[N, min(k, N - 1)]``, nearest first, of equal distance the lower index first, without self.
    """
    n = len(coords)
    tree = cKDTree(coords)
    found = np.empty((n, min(k, n - 1)), np.int64)
    open_rows, candidates = np.arange(n), k + 1 + SPARE
    while len(open_rows):
        candidates = min(candidates, n)
        distance, index = tree.query(coords[open_rows], k=candidates)
        distance, index = distance.reshape(-1, candidates), index.reshape(-1, candidates)
        found[open_rows], kth = _rank(distance, index, open_rows, k)
        # a tie may go on beyond the candidates: ask again with more of them
        undecided = (distance[:, -1] <= kth) & (candidates < n)
        open_rows, candidates = open_rows[undecided], candidates * 2
    return found


def latent_neighbours(features: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest rows of each row by Euclidean distance, exactly; as above.

    Single-precision products choose the candidates; their distances are then computed in double.
    Where a row left out may be as near (many equal rows: bare glass), all rows are compared.
    """
    n = len(features)
    rows = np.asarray(features, np.float32)
    centred = rows - rows.mean(axis=0)  # the same distances, with less to cancel
    squares = np.einsum("nd,nd->n", centred, centred)
    candidates = min(n, k + 1 + SPARE)
    found = np.empty((n, min(k, n - 1)), np.int64)
    for start in range(0, n, BLOCK):
        block = np.arange(start, min(n, start + BLOCK))
        rough = squares[None] - 2 * (centred[block] @ centred.T)
        index = np.argpartition(rough, candidates - 1, axis=1)[:, :candidates]
        farthest = np.take_along_axis(rough, index, axis=1).max(axis=1) + squares[block]
        index.sort(axis=1)
        difference = rows[index].astype(np.float64) - rows[block, None]
        distance = np.einsum("bcd,bcd->bc", difference, difference)
        found[block], kth = _rank(distance, index, block, k)
        undecided = block[farthest - ROUNDING * (squares[block] + squares.max()) <= kth]
        if candidates < n and len(undecided):
            found[undecided] = _compare_with_all(rows, undecided, k)
    return found


def _compare_with_all(rows: np.ndarray, wanted: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest rows of some; equal ones share the work."""
    found = np.empty((len(wanted), k), np.int64)
    values, which = np.unique(rows[wanted], axis=0, return_inverse=True)
    for i, value in enumerate(values):
        parts = (rows[j : j + BLOCK].astype(np.float64) - value for j in range(0, len(rows), BLOCK))
        distance = np.concatenate([np.einsum("nd,nd->n", part, part) for part in parts])
        nearest = np.argsort(distance, kind="stable")[: k + 1]
        same = np.flatnonzero(which.ravel() == i)
        shape = len(same), k + 1
        found[same], _ = _rank(
            np.broadcast_to(distance[nearest], shape),
            np.broadcast_to(nearest, shape),
            wanted[same],
            k,
        )
    return found


def _rank(
    distance: np.ndarray, index: np.ndarray, row: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's k nearest candidates, never itself, and the distance of the k-th."""
    distance = np.where(index == row[:, None], np.inf, distance)
    order = np.lexsort((index, distance), axis=1)[:, : min(k, index.shape[1] - 1)]
    kept = np.take_along_axis(index, order, axis=1)
    if not order.shape[1]:
        return kept, np.zeros(len(row))
    return kept, np.take_along_axis(distance, order, axis=1)[:, -1]
