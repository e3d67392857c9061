"""k-means with all its starts in one matrix product, so that they share each pass over the data."""

import numpy as np

STARTS = 10
ITERATIONS = 300
TOLERANCE = 1e-4  # of the squared shift of the centres, relative to the mean variance of a feature
BLOCK = 2048  # rows in one product


def kmeans(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the cluster of each row: of ten starts, the one with the least inertia.

    Lloyd's iterations from k-means++ centres (Arthur and Vassilvitskii, SODA 2007), drawn, stopped
    and repaired as in scikit-learn's ``KMeans(k, n_init=10, random_state=seed)``, whose clusters
    these are but for rounding. Sums are kept from one iteration to the next; only rows that change
    their cluster touch them.

    Parameters
    ----------
    rows : ``[N, D]`` float16 or float32.
    k : number of clusters; the number of different rows if that is less.
    seed : of the draws, below 2 ** 32.

    Returns
    -------
    ``[N]`` int32 in 0 .. k - 1, none of them empty.
    """
    rows = np.asarray(rows, np.float32)
    k = _at_most(k, rows)
    rows = rows - rows.mean(axis=0)  # the same distances, with less to cancel
    squares = np.einsum("nd,nd->n", rows, rows)
    tolerance = TOLERANCE * squares.mean(dtype=np.float64) / rows.shape[1]

    centres = rows[_first_centres(rows, squares, k, seed)].astype(np.float64)  # [S, k, D]
    labels = np.full((STARTS, len(rows)), -1, np.int16)
    sums, counts = np.zeros(centres.shape), np.zeros(centres.shape[:2], np.int64)
    running = np.arange(STARTS)
    for _ in range(ITERATIONS):
        nearest = _nearest_centres(rows, centres[running])
        sums[running] += _changed_sums(rows, labels[running], nearest, k)
        labels[running] = nearest
        for start in running:
            counts[start] = np.bincount(labels[start], minlength=k)
            if not counts[start].all():
                _fill_empty(rows, centres[start], labels[start], sums[start], counts[start])
        means = sums[running] / counts[running][:, :, None]
        shift = ((means - centres[running]) ** 2).sum(axis=(1, 2))
        centres[running] = means
        running = running[shift > tolerance]
        if not len(running):
            break
    # inertia is the sum of squares of all rows, the same for each start, less this
    explained = np.einsum("sk,skd,skd->s", counts, centres, centres)
    return labels[explained.argmax()].astype(np.int32)


def _at_most(k: int, rows: np.ndarray) -> int:
    """Return the number of different rows, or k if there are as many."""
    seen = set()
    for row in rows:
        seen.add(row.tobytes())
        if len(seen) == k:
            break
    return len(seen)


def _first_centres(rows: np.ndarray, squares: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the rows ``[S, k]`` that are centres at first: greedy k-means++ for every start.

    Of some rows, drawn with probabilities like their squared distances to the nearest centre, the
    one that leaves the least sum of such distances becomes the next centre.
    """
    n, every = len(rows), np.arange(STARTS)
    trials = 2 + int(np.log(k))
    first, draws = np.split(
        np.random.RandomState(seed).random_sample((STARTS, 1 + (k - 1) * trials)), [1], axis=1
    )

    def distances(chosen: np.ndarray) -> np.ndarray:  # [M] -> squared, [M, N]
        found = -2 * (rows[chosen] @ rows.T)
        found += squares
        found += squares[chosen, None]
        return np.maximum(found, 0, out=found)

    centres = np.empty((STARTS, k), np.int64)
    centres[:, 0] = first[:, 0] * n
    closest = distances(centres[:, 0])  # [S, N]
    for j in range(1, k):
        total = closest.cumsum(axis=1, dtype=np.float64)
        drawn = draws[:, (j - 1) * trials : j * trials] * total[:, -1:]
        tried = np.stack(
            [np.searchsorted(*pair, side="right") for pair in zip(total, drawn, strict=True)]
        )
        tried = np.minimum(tried, n - 1)  # where all rows are centres
        left = distances(tried.ravel()).reshape(STARTS, trials, n)
        np.minimum(left, closest[:, None], out=left)
        best = left.sum(axis=2, dtype=np.float64).argmin(axis=1)
        closest, centres[:, j] = left[every, best], tried[every, best]
    return centres


def _nearest_centres(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return ``[S, N]`` int16: the nearest of the centres ``[S, k, D]`` in each start."""
    starts, k, width = centres.shape
    flat = centres.reshape(-1, width)
    half = (np.einsum("cd,cd->c", flat, flat) / 2).astype(np.float32)
    flat = flat.astype(np.float32).T
    nearest = np.empty((starts, len(rows)), np.int16)
    for first in range(0, len(rows), BLOCK):
        block = slice(first, first + BLOCK)
        score = rows[block] @ flat  # [B, S k]
        score -= half  # the larger, the nearer
        nearest[:, block] = score.reshape(-1, starts, k).argmax(axis=2).T
    return nearest


def _changed_sums(rows: np.ndarray, before: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """Return ``[S, k, D]``, what the sums of clusters gain when labels ``[S, N]`` change.

    The label -1, of rows that were in no cluster, stands for one more cluster behind the last.
    """
    starts, width = len(before), rows.shape[1]
    gain = np.zeros((starts * (k + 1), width))
    changed = np.flatnonzero((before != after).any(axis=0))
    for first in range(0, len(changed), BLOCK):
        at = changed[first : first + BLOCK]
        old, new = before[:, at], after[:, at]
        start, row = np.nonzero(old != new)
        sign = np.zeros((len(at), starts, k + 1), np.float32)
        sign[row, start, new[start, row]] = 1
        sign[row, start, old[start, row]] = -1
        gain += sign.reshape(len(at), -1).T @ rows[at]
    return gain.reshape(starts, k + 1, width)[:, :k]


def _fill_empty(
    rows: np.ndarray, centres: np.ndarray, labels: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Move the row farthest from its centre to each empty cluster of a start, in place."""
    apart = rows - centres[labels].astype(np.float32)
    distance = np.einsum("nd,nd->n", apart, apart)
    for cluster in np.flatnonzero(counts == 0):
        row = np.where(counts[labels] > 1, distance, -1).argmax()
        for place, by in ((labels[row], -1), (cluster, 1)):
            sums[place] += by * rows[row].astype(np.float64)
            counts[place] += by
        labels[row], distance[row] = cluster, 0
