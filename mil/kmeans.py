"""k-means with all its starts in one matrix product, so that they share each pass over the data."""

import numpy as np

STARTS = 10
ITERATIONS = 300
TOLERANCE = 1e-4  # of the squared shift of the centres, relative to the mean variance of a feature
BLOCK = 1024  # rows in one product
RENEW = 12  # iterations for which directions serve
MOST_DOUBTFUL = 0.5  # share of rows; with more, directions cost more than they save
ROUNDING = 1e-5  # of scores in single precision, relative to the lengths of row and centre
CANCELS = 1e-6  # of squared lengths, in the difference of two of them


def kmeans(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the cluster of each row: of ten starts, the one with the least inertia.

    Lloyd's iterations from k-means++ centres (Arthur and Vassilvitskii, SODA 2007), drawn, stopped
    and repaired as in scikit-learn's ``KMeans(k, n_init=10, random_state=seed)``, whose clusters
    these are but for rounding. Sums are kept from one iteration to the next; only rows that change
    their cluster touch them. Most rows are settled without all of their features, see
    :class:`_Directions`.

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
    nearest_of = _Nearest(rows, squares)
    for _ in range(ITERATIONS):
        nearest = nearest_of(centres[running])
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


class _Directions:
    """The directions between centres; after those have moved a little, they still settle most rows.

    A row is x = u + v and a centre c = a + b, u and a their parts along these directions. Scores
    x.c - |c|^2 / 2 = u.a + v.b - |c|^2 / 2 of two centres differ by what their u.a differ and by at
    most |v| times the length of the difference of their b, which is 0 at first and short as long as
    centres have moved little. Where the best in u.a leads by more, it is nearest.

    Parameters
    ----------
    rows : ``[N, D]`` float32.
    squares : ``[N]``, of their lengths.
    centres : ``[S, k, D]``.
    """

    def __init__(self, rows: np.ndarray, squares: np.ndarray, centres: np.ndarray):
        flat = centres.reshape(-1, rows.shape[1]).astype(np.float32)
        self.basis = np.linalg.qr(flat.T)[0]  # [D, Q]
        self.along = np.concatenate(
            [rows[first : first + BLOCK] @ self.basis for first in range(0, len(rows), BLOCK)]
        )  # [N, Q]
        self.lengths = np.sqrt(squares)
        across = squares - np.einsum("nq,nq->n", self.along, self.along)
        # the difference cancels where rows lie along them: no shorter than rounding may hide
        self.across = np.sqrt(np.maximum(across, 0) + CANCELS * squares)

    def settle(self, centres: np.ndarray, half: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Put the nearest of centres ``[S, k, D]`` into `nearest`; return which are doubtful."""
        starts, k, _ = centres.shape
        along = centres @ self.basis  # [S, k, Q]
        across = centres - along @ self.basis.T
        products = np.einsum("sid,sjd->sij", across, across)
        own = np.einsum("sii->si", products)
        apart = (own[:, :, None] + own[:, None] - 2 * products).max(axis=2)
        apart = np.sqrt(np.maximum(apart, 0)).astype(np.float32)  # [S, k], to the others, at most
        rounding = ROUNDING * np.sqrt(2 * half.max())
        flat = along.reshape(starts * k, -1).astype(np.float32)
        doubtful = np.empty(len(self.along), bool)
        for first in range(0, len(self.along), BLOCK):
            block = slice(first, first + BLOCK)
            score = flat @ self.along[block].T  # [S k, B]
            score -= half[:, None]
            nearest[:, block], lead = _lead(score.reshape(starts, k, -1))
            least = self.across[block] * apart[np.arange(starts)[:, None], nearest[:, block]]
            least += rounding * self.lengths[block]
            doubtful[block] = (lead <= least).any(axis=0)
        return np.flatnonzero(doubtful)


def _lead(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of scores ``[S, k, B]`` is best, and by how much, ``[S, B]`` both."""
    best, following = score[:, 0].copy(), np.full_like(score[:, 0], -np.inf)
    which = np.zeros(best.shape, np.int16)
    for centre in range(1, score.shape[1]):
        np.maximum(following, np.minimum(best, score[:, centre]), out=following)
        np.copyto(which, centre, where=score[:, centre] > best)
        np.maximum(best, score[:, centre], out=best)
    return which, best - following


class _Nearest:
    """Finds the nearest centre of each row, iteration after iteration.

    Directions are found anew after a few iterations. Where they have settled little by then (rows
    without structure) they are left out for twice as long as the time before.
    """

    def __init__(self, rows: np.ndarray, squares: np.ndarray):
        self.rows, self.squares = rows, squares
        self.directions: _Directions | None = None
        self.left, self.pause = 2, 2 * RENEW  # iterations to the next directions; without any

    def __call__(self, centres: np.ndarray) -> np.ndarray:
        """Return ``[S, N]`` int16: the nearest of the centres ``[S, k, D]`` in each start."""
        half = (np.einsum("skd,skd->sk", centres, centres).ravel() / 2).astype(np.float32)
        nearest = np.empty((len(centres), len(self.rows)), np.int16)
        if self.left == 0 and centres.shape[0] * centres.shape[1] < self.rows.shape[1]:
            self.directions, self.left = _Directions(self.rows, self.squares, centres), RENEW
        self.left = max(0, self.left - 1)
        if self.directions is None:
            self._compare(centres, half, nearest, None)
            return nearest
        doubtful = self.directions.settle(centres, half, nearest)
        self._compare(centres, half, nearest, doubtful)
        if len(doubtful) > MOST_DOUBTFUL * len(self.rows):
            self.directions = None
            if self.left >= RENEW - 2:  # at once: they are no help
                self.left, self.pause = self.pause, 2 * self.pause
            else:
                self.left = 0
        return nearest

    def _compare(
        self, centres: np.ndarray, half: np.ndarray, nearest: np.ndarray, wanted: np.ndarray | None
    ) -> None:
        """Put the nearest centres of the rows `wanted`, or of all, into `nearest`."""
        starts, k, width = centres.shape
        flat = centres.reshape(-1, width).astype(np.float32).T
        gathered = np.empty((BLOCK, width), np.float32)  # once: fresh memory costs more than a copy
        for first in range(0, len(self.rows) if wanted is None else len(wanted), BLOCK):
            if wanted is None:
                at = slice(first, first + BLOCK)
                some = self.rows[at]
            else:
                at = wanted[first : first + BLOCK]
                some = np.take(self.rows, at, axis=0, out=gathered[: len(at)], mode="clip")
            score = some @ flat  # [B, S k]
            score -= half  # the larger, the nearer
            nearest[:, at] = score.reshape(-1, starts, k).argmax(axis=2).T


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
