"""Clusters of a patient's patches, for models that pool cluster by cluster."""

import logging

import numpy as np

from mil.kmeans import kmeans
from mil.problems import InputError
from mil.seeds import seed_for
from wsi.storage import Outcome, read_features, read_outcome, save_npz, sha256_arrays

log = logging.getLogger(__name__)


def cluster_patches(
    *,
    patient_id: str,
    slides: list[str],
    features: list[str],
    clusters: str,
    k: int,
    seed: int,
    crashed: str = "",
) -> None:
    """Group the patches of one patient by k-means on their features (specification advmil 1.7).

    Parameters
    ----------
    patient_id : whose patches.
    slides, features : slide ids and their feature files, in the order of the slide table; failed
        slides are left out.
    clusters : npz to write: ``cluster`` ``[N]`` int32, ``slides`` and ``rows`` it belongs to.
    k : number of clusters; the number of different patches where there are fewer, the other ids
        staying empty.
    seed : of the configuration.
    crashed : how every attempt ended, if each did; this is then the outcome of the patient.
    """
    from threadpoolctl import threadpool_limits

    if crashed:
        reason = f"patient {patient_id}: {crashed}"
        save_npz(clusters, Outcome(patient_id, "cluster_patches", "failed", reason, "crash"))
        return
    usable = [
        (slide, path) for slide, path in zip(slides, features, strict=True) if read_outcome(path).ok
    ]
    if not usable:
        reason = f"patient {patient_id}: none of the slides {', '.join(slides)} can be used."
        log.warning("%s", reason)
        save_npz(clusters, Outcome(patient_id, "cluster_patches", "failed", reason, "no_slide"))
        return
    rows = [read_features(path)[0] for _, path in usable]
    if len({part.shape[1] for part in rows}) > 1:
        widths = ", ".join(f"{s} {p.shape[1]}" for (s, _), p in zip(usable, rows, strict=True))
        raise InputError(
            [
                f"patient {patient_id}: features of its slides differ in width ({widths}); one "
                "encoder gives one. Extract them again, or name a slide under exclude."
            ]
        )
    stacked = np.concatenate(rows, dtype=np.float32)
    with threadpool_limits(1):  # the order of sums, and so the bytes, must not follow the cores
        cluster = kmeans(stacked, k, seed_for(seed, "clusters", patient_id) % 2**32)
    arrays = {
        "cluster": cluster,
        "slides": np.array([slide for slide, _ in usable]),
        "rows": np.array([len(part) for part in rows], np.int64),
    }
    described = {"k": k, "sha256": sha256_arrays(*arrays.values())}
    save_npz(clusters, Outcome(patient_id, "cluster_patches"), described, **arrays)
