"""Exact nearest neighbours, in space and among features; of equal distance the lower index first.

Of equal points or rows only the first k + 1 can be among anybody's k nearest, so only those are
searched: thousands of patches of bare glass cost no more than others.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b

import numpy as np

BLOCK = 512  # rows compared with all others at once; bounds memory to BLOCK x N distances
PAIRS = 512  # differences taken at once; they stay in the cache
GROUP = 64  # distances of which the least is looked at first

Candidates = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def spatial_neighbours(coords: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest points of each point.

    Parameters
    ----------
    coords : ``[N, 2]``, any unit; whole numbers tie exactly. Points may be equal.
    k : number of neighbours; N - 1 if that is less.

    Returns
    -------
    ``[N, min(k, N - 1)]`` int64, nearest first, of equal distance the lower index first, never
    the point itself.
    """
    points = np.ascontiguousarray(coords, np.float64)
    k = min(k, len(points) - 1)
    kept = _first_copies(points.view(f"V{points[0].nbytes}").ravel().tolist(), k + 1)
    from scipy.spatial import cKDTree  # here: it takes as long to import as all else of a stage

    tree = cKDTree(points[kept])
    found = np.empty((len(points), k), np.int64)
    rows, asked = np.arange(len(points)), k + 2  # oneself, and one more that may tie with the last
    while len(rows):
        asked = min(asked, len(kept))
        distance, index = tree.query(points[rows], k=range(1, asked + 1))
        nearest, found[rows] = _rank(distance, kept[index], rows, k)
        # a tie may go on beyond those asked for: ask again for more
        rows = rows[(distance[:, -1] <= nearest) & (asked < len(kept))]
        asked *= 2
    return found


def latent_neighbours(features: np.ndarray, k: int, device: str = "cpu") -> np.ndarray:
    """Return the k nearest rows of each row by Euclidean distance.

    Products in single precision find every row that rounding, at its worst, lets be among the k
    nearest; the distances of these few are then taken in double precision. So the result is that
    of comparing all rows with all in double precision, on every device.

    Parameters
    ----------
    features : ``[N, D]`` float16 or float32.
    k : number of neighbours; N - 1 if that is less.
    device : where the products are made: ``cpu`` (BLAS) or a device of PyTorch.

    Returns
    -------
    ``[N, min(k, N - 1)]`` int64, ordered as in :func:`spatial_neighbours`.
    """
    rows = np.asarray(features, np.float32)
    n, width = rows.shape
    k = min(k, n - 1)
    kept = _first_copies((blake2b(row, digest_size=16).digest() for row in rows), k + 1)
    centre = rows.mean(axis=0)  # the same distances, with less to cancel
    targets = rows[kept]
    targets -= centre
    candidates = _with_blas(targets, k) if device == "cpu" else _with_torch(targets, k, device)
    largest = _half_squares(targets).max()
    found = np.empty((n, k), np.int64)
    for start in range(0, n if k else 0, BLOCK):
        queries = rows[start : start + BLOCK] - centre
        # of a sum of D products in any order, of centring and of the squares, relative to norms
        rounding = (width + 8) * np.finfo(np.float32).eps * (_half_squares(queries) + largest)
        query, target = candidates(queries, 2 * rounding)
        found[start : start + BLOCK] = _nearest_pairs(rows, start + query, kept[target], k)
    return found


def _first_copies(keys: Iterable[bytes], most: int) -> np.ndarray:
    """Return the positions of the keys that fewer than `most` equal ones precede."""
    seen = Counter()
    kept = []
    for position, key in enumerate(keys):
        if seen[key] < most:
            kept.append(position)
        seen[key] += 1
    return np.array(kept, np.int64)


def _rank(
    distance: np.ndarray, index: np.ndarray, row: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each row's k-th nearest candidate, itself aside, and the k nearest."""
    distance = np.where(index == row[:, None], np.inf, distance)
    order = np.lexsort((index, distance), axis=1)[:, :k]
    last = np.take_along_axis(distance, order[:, -1:], axis=1).sum(axis=1)
    return last, np.take_along_axis(index, order, axis=1)


def _half_squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", rows, rows) / 2


def _with_blas(targets: np.ndarray, k: int) -> Candidates:
    """Return a function of queries and slack to all pairs (query, target) that may be nearest."""
    half = _half_squares(targets)
    size = max(1, min(GROUP, len(targets) // (8 * (k + 1))))
    grouped = len(targets) // size * size

    def candidates(queries: np.ndarray, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rough = queries @ targets.T  # [B, M]
        np.subtract(half, rough, out=rough)  # half the squared distance, less the query's square
        least = rough[:, :grouped].reshape(len(queries), size, -1).min(axis=1)
        # at least k + 1 targets are as near as the (k + 1)-th least group
        bound = np.partition(least, k, axis=1)[:, k]
        return np.nonzero(rough <= (bound + slack)[:, None])

    return candidates


def _with_torch(targets: np.ndarray, k: int, device: str) -> Candidates:
    """Return what :func:`_with_blas` does, on a device of PyTorch."""
    import torch

    half = torch.from_numpy(_half_squares(targets)).to(device)
    there = torch.from_numpy(targets).to(device)

    def candidates(queries: np.ndarray, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rough = half - torch.from_numpy(queries).to(device) @ there.T
        bound = rough.topk(k + 1, dim=1, largest=False).values[:, -1:]
        near = rough <= bound + torch.from_numpy(slack).to(device)[:, None]
        return tuple(near.nonzero().T.cpu().numpy())

    return candidates


def _nearest_pairs(rows: np.ndarray, query: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Return ``[B, k]``, the nearest targets of each query; pairs are in the order of queries."""
    other = query != target
    query, target = query[other], target[other]
    distance = np.empty(len(query))
    for start in range(0, len(query), PAIRS):
        pairs = slice(start, start + PAIRS)
        apart = np.subtract(rows[query[pairs]], rows[target[pairs]], dtype=np.float64)
        distance[pairs] = np.einsum("pd,pd->p", apart, apart)
    order = np.lexsort((target, distance, query))
    first = np.flatnonzero(np.diff(query, prepend=-1))
    return target[order][first[:, None] + np.arange(k)]
