"""Graphs of a slide: its patches, joined to their neighbours in space and among features."""

import numpy as np

from mil.neighbours import latent_neighbours, spatial_neighbours
from wsi.outcome import slide_stage
from wsi.storage import Outcome, read_features, save_npz, sha256_arrays

LONG = 2  # widths of a patch; inside a grid, none of the eight nearest is as far


@slide_stage(writes=("graph",), after="features")
def build_graph(
    *,
    slide_id: str,
    features: str,
    graph: str,
    neighbours: int,
    latent: bool = True,
    device: str = "cpu",
) -> None:
    """Join every patch of one slide to its nearest neighbours (specification advmil 1.6).

    Parameters
    ----------
    slide_id, features : name of the slide and its feature file, N patches.
    graph : npz to write: ``edge_index`` ``[2, E]`` (space), ``edge_latent`` ``[2, E]``
        (features), ``centroid`` ``[N, 2]`` (centres, level-0 pixels). Its attributes have the
        statistics of :func:`statistics`.
    neighbours : number of neighbours of a patch; all others where there are fewer.
    latent : look for neighbours among features; if not, ``edge_latent`` is ``[2, 0]`` and the
        attribute ``latent`` false.
    device : where features are compared, ``cpu`` or ``cuda``.
    """
    rows, coords, attributes = read_features(features)
    footprint = float(attributes["footprint0"])
    among_features = (
        latent_neighbours(rows, neighbours, device) if latent else np.empty((len(rows), 0))
    )
    arrays = {
        "edge_index": edges(spatial_neighbours(coords, neighbours)),
        "edge_latent": edges(among_features),
        "centroid": (coords + footprint / 2).astype(np.float32),
    }
    described = {
        "neighbours": neighbours,
        "latent": latent,
        **statistics(arrays["edge_index"], coords, LONG * footprint),
        "features_sha256": attributes["sha256"],
        "sha256": sha256_arrays(*arrays.values()),
    }
    save_npz(graph, Outcome(slide_id, "build_graph"), described, **arrays)


def edges(neighbours: np.ndarray) -> np.ndarray:
    """Return ``[2, N k]`` int64 from ``[N, k]``: the querying node, then its neighbour by rank."""
    n, k = neighbours.shape
    return np.stack([np.repeat(np.arange(n), k), neighbours.ravel()]).astype(np.int64)


def statistics(edge_index: np.ndarray, coords: np.ndarray, far: float) -> dict[str, float]:
    """Return what tells an odd graph from others.

    Parameters
    ----------
    edge_index : ``[2, E]``, source, then target.
    coords : ``[N, 2]``, level-0 pixels.
    far : length in level-0 pixels.

    Returns
    -------
    ``in_degree_min``, ``in_degree_median``, ``in_degree_max`` : how many edges end in a patch, the
    messages that it receives. ``pieces`` : connected components, edges taken both ways.
    ``long_edges`` : share of edges longer than `far`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(coords)
    source, target = edge_index
    degree = np.bincount(target, minlength=n)
    joined = coo_array((np.ones(len(source), np.int8), (source, target)), (n, n))
    length = np.hypot(*(coords[source] - coords[target]).T)
    return {
        "in_degree_min": int(degree.min()),
        "in_degree_median": float(np.median(degree)),
        "in_degree_max": int(degree.max()),
        "pieces": int(connected_components(joined, directed=False, return_labels=False)),
        "long_edges": float((length > far).mean()) if len(length) else 0.0,
    }
