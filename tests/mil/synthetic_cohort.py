"""A cohort on disk whose hazard is known: files as the earlier stages write them."""

from pathlib import Path

import numpy as np
import pandas as pd

from mil.prediction import predict_fold
from mil.training import train_model
from wsi.storage import Outcome, save_npz, sha256_arrays, write_h5

STAGE = Outcome("", "extract_features")


def write_cohort(root, patients=48, patches=32, width=32, slides=1, seed=0, scale=1.0):
    """Write features, graphs, clusters, tables and one fold below `root`.

    A share z of a patient's instances is shifted along one direction; time falls with z. Features
    are multiplied by `scale`.
    """
    random = np.random.default_rng(seed)
    root = Path(root)
    ids = [f"P{i:03d}" for i in range(patients)]
    z = random.permutation(np.linspace(0, 1, patients))
    time = np.exp(3 - 2.5 * z + 0.05 * random.standard_normal(patients))
    event = (random.random(patients) < 0.7).astype(int)
    time = np.where(event == 1, time, time * random.uniform(0.6, 1, patients))
    direction = random.standard_normal(width) / np.sqrt(width)

    rows = []
    for patient, share in zip(ids, z, strict=True):
        clusters, names, counts = [], [], []
        for s in range(slides):
            name = f"{patient}-{s}"
            shifted = random.random(patches) < share
            x = random.standard_normal((patches, width)) * 0.5
            x += 3 * np.where(shifted, 1, -1)[:, None] * direction * np.sqrt(width) / 2
            x = (scale * x).astype(np.float32)
            rows.append(_write_slide(root, name, patient, x))
            clusters.append((shifted + 2 * s).astype(np.int32))
            names.append(name)
            counts.append(patches)
        save_npz(
            root / f"clusters/{patient}.npz",
            Outcome(patient, "cluster_patches"),
            {"sha256": "c" + patient},
            cluster=np.concatenate(clusters),
            slides=np.array(names),
            rows=np.array(counts),
        )
    pd.DataFrame(rows).to_csv(root / "cohort.csv", index=False)
    table = pd.DataFrame({"patient_id": ids, "time": time, "event": event, "n_slides": slides})
    table.to_csv(root / "patients.csv", index=False)
    parts = random.permutation(np.repeat(["train", "validation", "test"], _sizes(patients)))
    fold = pd.DataFrame({"patient_id": ids, "part": parts})
    fold.to_csv(root / "fold0.csv", index=False)
    return root


def _sizes(patients):
    validation = test = patients // 4
    return [patients - validation - test, validation, test]


def _write_slide(root, name, patient, x):
    n = len(x)
    side = int(np.ceil(np.sqrt(n)))
    coords = np.stack([np.arange(n) % side, np.arange(n) // side], 1).astype(np.int64) * 1024
    sha = sha256_arrays(x, coords)
    write_h5(
        root / f"features/{name}.h5",
        Outcome(name, "extract_features"),
        {"features": x, "coords": coords},
        {"sha256": sha},
    )
    source = np.arange(n).repeat(2)
    target = (source + np.tile([1, 2], n)) % n
    save_npz(
        root / f"graphs/{name}.npz",
        Outcome(name, "build_graph"),
        {"sha256": "g" + name},
        edge_index=np.stack([source, target]),
        edge_latent=np.stack([target, source]),
        centroid=coords.astype(np.float32),
    )
    return {
        "slide_id": name,
        "patient_id": patient,
        "n_patches": n,
        "width": x.shape[1],
        "features": f"features/{name}.h5",
        "features_sha256": sha,
        "graph": f"graphs/{name}.npz",
        "graph_sha256": "g" + name,
        "clusters": f"clusters/{patient}.npz",
        "clusters_sha256": "c" + patient,
    }


def run(
    root,
    head,
    *,
    model="abmil",
    out="out",
    permute=None,
    seed=7,
    options=None,
    fold_index=0,
    device="cpu",
    code="",
    watched=None,
    **keys,
):
    """Train and predict; return the predictions and the history."""
    root = Path(root)
    here = root / out
    common = {
        "cohort": root / "cohort.csv",
        "patients": root / "patients.csv",
        "fold": root / "fold0.csv",
        "root": root,
    }
    stored = {"model": here / "model.safetensors", "config": here / "config.yaml"}
    experiment = {
        "name": f"{model}-{head}",
        "model": model,
        "head": head,
        "encoder": "test",
        "training": keys,
        "permute_labels": permute,
        **(options or {}),
    }
    train_model(
        **common,
        **stored,
        experiment=experiment,
        seed=seed,
        fold_index=fold_index,
        history=here / "history.csv",
        code=code,
        running={"device": device, **(watched or {})},
    )
    predict_fold(
        **common,
        **stored,
        running={"device": device},
        predictions=here / "predictions.csv",
        draws=here / "draws.npz",
        attention=here / "attention.npz",
    )
    return pd.read_csv(here / "predictions.csv"), pd.read_csv(here / "history.csv")
