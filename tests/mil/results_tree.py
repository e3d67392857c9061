"""A small results tree as all earlier stages leave it: 6 patients, 8 slides, 2 folds."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from mil.config import load_config
from mil.distributions.draw import FIGURES
from wsi.slide_table import COLUMNS
from wsi.storage import Outcome, save_npz, write_h5, write_json

REPOSITORY = Path(__file__).resolve().parents[2]
SIDE, FOOTPRINT = 4096, 512  # of a slide and of a fine patch, level-0 pixels
SLIDES = {f"S{i}": f"P{i}" for i in (1, 2, 4, 5, 6, 7)} | {"S3a": "P3", "S3b": "P3"}
FAILED = {
    "S2": ("unreadable", "slide S2: the file ends after 3 of 9 MB; copy it again."),
    "S3b": ("no_tissue", "slide S3b: no tissue larger than 0.05 mm2 <here>."),
}
FOLLOW_UP = {
    "P1": (4, 1),
    "P2": (9, 1),
    "P3": (30.5, 0),
    "P4": (12, 1),
    "P5": (20, 0),
    "P6": (7, 1),
}
NO_FOLLOW_UP = {"P7": "no follow-up: the time is missing"}
TEST_PARTS = ({"P1", "P3", "P5"}, {"P2", "P4", "P6"})
USED = ("P1", "P3", "P4", "P5", "P6")


def write_results(folder, weights="random:0", experiments=("plain", "timed")):
    """Write the tree and return the keywords of ``write_report``."""
    root = Path(folder) / "results"
    rows = [
        _write_slide(root, slide, patient, weights)
        for slide, patient in SLIDES.items()
        if slide not in FAILED
    ]
    _write_failed(root)
    table = Path(folder) / "slides.csv"
    pd.DataFrame(
        [(slide, patient, f"{slide}.tiff") for slide, patient in SLIDES.items()],
        columns=["slide_id", "patient_id", "path"],
    ).to_csv(table, index=False)
    _write_cohort(root, rows)
    for number, name in enumerate(experiments):
        _write_experiment(root, name, timed=name != "plain", shift=number)
    _write_comparison(root, experiments)
    evaluation = root / "evaluation"
    write_json(root / "logs/start.json", {"packages": {"numpy": "2.5.5", "torch": "2.15.0"}})
    return {
        "report": root / "report.html",
        "config": configuration(experiments),
        "root": root,
        "slides": table,
        "slide_table": _write_slide_table(root),
        "patients": root / "cohort/patients.csv",
        "excluded_patients": root / "cohort/excluded_patients.csv",
        "folds": [root / f"folds/fold{k}.csv" for k in range(2)],
        "cohorts": [root / "cohort/resnet50.csv"],
        "excluded": [root / "cohort/resnet50.excluded.csv"],
        "graphs": [root / "cohort/resnet50.graphs.csv"],
        "metrics": [evaluation / name / "metrics.csv" for name in experiments],
        "kaplan_meier": [evaluation / name / "kaplan_meier.svg" for name in experiments],
        "training_curves": [evaluation / name / "training_curves.svg" for name in experiments],
        "heatmaps": [evaluation / name / "heatmaps.jpg" for name in experiments],
        "comparison": evaluation / "comparison.csv",
        "forest": evaluation / "forest.svg",
        "distributions": {
            figure: [evaluation / name / f"{figure}.svg" for name in experiments]
            for figure in FIGURES
        },
        "alarms": [evaluation / name / "alarms.csv" for name in experiments],
        "citation": REPOSITORY / "CITATION.cff",
        "run": root / "logs/start.json",
        "version": "0.1.0 (commit abc1234)",
    }


def configuration(experiments=("plain", "timed")):
    """Return a validated configuration with two folds."""
    return load_config(
        {
            "cohort": "tiny",
            "folds": {"k": 2},
            "experiments": [
                {"name": name, "model": "abmil", "head": "cox"} for name in experiments
            ],
        },
        REPOSITORY / "schemas/config.schema.yaml",
    )


def heatmap_inputs(keywords, name="plain"):
    """Return the keywords of ``draw_heatmaps`` but for ``slides``."""
    root = keywords["root"]
    return {
        "name": name,
        "attention": [root / f"models/{name}/fold{k}/attention.npz" for k in range(2)],
        "predictions": [root / f"models/{name}/fold{k}/predictions.csv" for k in range(2)],
        "cohort": root / "cohort/resnet50.csv",
        "root": root,
        "heatmaps": root / f"evaluation/{name}/heatmaps.jpg",
    }


def _write_slide(root, slide, patient, weights):
    (root / "tissue").mkdir(parents=True, exist_ok=True)
    (root / "patches").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / f"tissue/{slide}.jpg"), np.full((1024, 1024, 3), 210, np.uint8))
    cv2.imwrite(str(root / f"patches/{slide}.jpg"), np.full((1024, 1024, 3), 200, np.uint8))
    ring = [[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE], [0, 0]]
    outline = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Tissue"}},
    }
    tissue = {"features": [outline], "outcome": vars(Outcome(slide, "find_tissue"))}
    (root / f"tissue/{slide}.geojson").write_text(json.dumps(tissue))
    facts = {
        "width0": SIDE,
        "height0": SIDE,
        "bounds": [0, 0, SIDE, SIDE],
        "mpp0": 0.5,
        "mpp_source": "file",
        "size": 256,
    }
    coarse = np.array([[0, 0], [2048, 0]], np.int64)
    write_h5(
        root / f"patches/level2/{slide}.h5",
        Outcome(slide, "make_patches"),
        {"coords": coarse},
        {**facts, "footprint0": 4 * FOOTPRINT, "dropped_patches": 0},
    )
    steps = np.array([(x, y) for y in range(4) for x in range(4)]) * FOOTPRINT
    coords = (coarse[:, None] + steps[None]).reshape(-1, 2)
    n = len(coords)
    write_h5(
        root / f"features/resnet50/{slide}.h5",
        Outcome(slide, "extract_features"),
        {"features": np.ones((n, 4), np.float32), "coords": coords},
        {
            **facts,
            "footprint0": FOOTPRINT,
            "target": 1.0,
            "encoder": "resnet50",
            "weights": weights,
            "weights_sha256": "5" * 64,
            "licence": "Apache-2.0",
            "trained_on_tcga": "no",
            "precision": "float32",
        },
    )
    ring = np.stack([np.arange(n), (np.arange(n) + 1) % n])
    save_npz(
        root / f"graphs/resnet50/{slide}.npz",
        Outcome(slide, "build_graph"),
        edge_index=ring,
        edge_latent=np.stack([np.arange(n), np.zeros(n, int)]),
        centroid=coords.astype(np.float32),
    )
    save_npz(
        root / f"clusters/resnet50/{patient}.npz",
        Outcome(patient, "cluster_patches"),
        cluster=(np.arange(n) % 8).astype(np.int32),
    )
    return {
        "slide_id": slide,
        "patient_id": patient,
        "n_patches": n,
        "width": 4,
        "features": f"features/resnet50/{slide}.h5",
        "features_sha256": "f",
        "graph": f"graphs/resnet50/{slide}.npz",
        "graph_sha256": "g",
        "clusters": f"clusters/resnet50/{patient}.npz",
        "clusters_sha256": "c",
    }


def _write_slide_table(root):
    """Write what list_slides does: S1 is odd and damaged, S4 lost a patch with ink."""
    rows = []
    for slide in SLIDES:
        kind, reason = FAILED.get(slide, ("ok", ""))
        row = dict.fromkeys(COLUMNS, "") | {"slide_id": slide, "status": kind, "reason": reason}
        if slide not in FAILED:
            row |= {"format": "aperio", "mpp": "0.5", "mpp_source": "openslide.mpp"}
            row |= dict.fromkeys(
                (name for name in COLUMNS if name.endswith("_patches") or name == "damaged_tiles"),
                0,
            )
            row |= {"coarse_patches": 2, "dropped": 0}
        rows.append(row)
    by_id = {row["slide_id"]: row for row in rows}
    by_id["S1"] |= {"look": "its glass is <blue>.", "damaged_tiles": 3, "unreadable_patches": 1}
    by_id["S4"] |= {"dropped": 1, "blur_patches": 2}
    pd.DataFrame(rows, columns=COLUMNS).to_csv(root / "slides.csv", index=False)
    return root / "slides.csv"


def _write_failed(root):
    for slide, (kind, reason) in FAILED.items():
        outcome = Outcome(slide, "find_tissue", "failed", reason, kind)
        cv2.imwrite(str(root / f"tissue/{slide}.jpg"), np.full((64, 64, 3), 238, np.uint8))
        write_h5(root / f"patches/level2/{slide}.h5", outcome, {"coords": np.zeros((0, 2), int)})


def _write_cohort(root, rows):
    (root / "cohort").mkdir()
    (root / "folds").mkdir()
    pd.DataFrame(rows).to_csv(root / "cohort/resnet50.csv", index=False)
    lost = [
        ("slide", slide, SLIDES[slide], "find_tissue", kind, reason)
        for slide, (kind, reason) in FAILED.items()
    ]
    graphs = pd.DataFrame(rows)[["slide_id", "n_patches"]]
    graphs = graphs.assign(in_degree_min=1, in_degree_median=8.0, in_degree_max=12)
    graphs = graphs.assign(pieces=1, long_edges=0.0)
    graphs.loc[graphs["slide_id"] == "S4", ["pieces", "long_edges"]] = 3, 0.125
    graphs.to_csv(root / "cohort/resnet50.graphs.csv", index=False)
    lost.append(("patient", "P2", "P2", "gather_cohort", "no_slide", "no usable slide: S2"))
    columns = ["level", "id", "patient_id", "stage", "kind", "reason"]
    pd.DataFrame(lost, columns=columns).to_csv(root / "cohort/resnet50.excluded.csv", index=False)
    people = [(name, time, event, 1) for name, (time, event) in FOLLOW_UP.items()]
    pd.DataFrame(people, columns=["patient_id", "time", "event", "n_slides"]).to_csv(
        root / "cohort/patients.csv", index=False
    )
    pd.DataFrame(list(NO_FOLLOW_UP.items()), columns=["patient_id", "reason"]).to_csv(
        root / "cohort/excluded_patients.csv", index=False
    )
    for k, test in enumerate(TEST_PARTS):
        others = sorted(set(FOLLOW_UP) - test)
        parts = {name: "test" for name in test} | {others[0]: "validation"}
        parts |= {name: "train" for name in others[1:]}
        pd.DataFrame(sorted(parts.items()), columns=["patient_id", "part"]).to_csv(
            root / f"folds/fold{k}.csv", index=False
        )


def _write_experiment(root, name, timed, shift):
    slide_of = {patient: slide for slide, patient in SLIDES.items() if slide not in FAILED}
    for k, test in enumerate(TEST_PARTS):
        folder = root / f"models/{name}/fold{k}"
        folder.mkdir(parents=True)
        people = [name for name in USED]
        pd.DataFrame(
            {
                "patient_id": people,
                "part": ["test" if name in test else "train" for name in people],
                "time": [FOLLOW_UP[name][0] for name in people],
                "event": [FOLLOW_UP[name][1] for name in people],
                "risk": [-FOLLOW_UP[name][0] for name in people],
                "predicted_time": [FOLLOW_UP[name][0] if timed else np.nan for name in people],
                "time_flag": "",
            }
        ).to_csv(folder / "predictions.csv", index=False)
        weights = np.arange(1, 33, dtype=np.float32) / 528
        attention = {slide_of[p]: weights for p in people if p in test}
        save_npz(folder / "attention.npz", **attention)
    folder = root / f"evaluation/{name}"
    folder.mkdir(parents=True)
    rows = [
        ("c_index", "0", 0.75 - shift / 8, 0.5, 1, np.nan, 3, 1, 2, ""),
        ("uno_c", "mean", 0.61, 0.4, 0.8, 0.1, 5, 3, np.nan, ""),
        ("c_index", "1", 0.5, 0.25, 0.75, np.nan, 2, 2, 1, ""),
        ("c_index", "mean", 0.625 - shift / 16, 0.41234, 0.9, 0.177, 5, 3, 3, ""),
        ("logrank_p", "pooled", 0.0004, np.nan, np.nan, np.nan, 5, 3, np.nan, ""),
    ]
    if timed:
        why = "fold 1: no events in <this> fold"
        rows.append(("mae_uncensored", "mean", np.nan, np.nan, np.nan, np.nan, 5, 3, np.nan, why))
        why = "no <curve>"
        rows += [
            (m, "mean", np.nan, np.nan, np.nan, np.nan, 5, 3, np.nan, why)
            for m in ("ibs", "ibs_km")
        ]
        rows.append(("coverage_80", "mean", 0.7654, 0.6, 0.9, 0.1, 5, 3, np.nan, ""))
    columns = "metric,fold,value,low,high,sd_over_folds,n,events,pairs,reason".split(",")
    table = pd.DataFrame(rows, columns=columns)
    table["end"] = np.where(table["metric"] == "uno_c", 40.2, np.nan)
    table.to_csv(folder / "metrics.csv", index=False)
    for figure in ("kaplan_meier", "training_curves"):
        (folder / f"{figure}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    for figure in FIGURES:
        (folder / f"{figure}.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg'/>{figure}")
        shows = timed or figure == "over_time"
        (folder / f"{figure}.csv").write_text("time\n1\n" if shows else "time\n")
    alarms = [(k, f"the draws hardly differ (0.00{k}).") for k in (0, 1)] if timed else []
    pd.DataFrame(alarms, columns=["fold", "alarm"]).to_csv(folder / "alarms.csv", index=False)
    cv2.imwrite(str(folder / "heatmaps.jpg"), np.zeros((40, 80, 3), np.uint8))


def _write_comparison(root, experiments):
    rows = [
        (
            name, name, 1, 0.625 - i / 16, 0.41234, 0.9, 0.177, np.nan, np.nan, 5, 3,
            -i / 16, -0.2 if i else np.nan, 0.1 if i else np.nan, 5, 0.61,
            0.123 if i else np.nan, 0.0004 if i else np.nan,
        )
        for i, name in enumerate(experiments)
    ]  # fmt: skip
    columns = (
        "experiment,group,seeds,c_index,low,high,sd_over_folds,sd_over_repeats,sd_over_seeds,n,"
        "events,difference,difference_low,difference_high,shared,uno_c,ibs_scaled,d_calibration_p"
    )
    pd.DataFrame(rows, columns=columns.split(",")).to_csv(
        root / "evaluation/comparison.csv", index=False
    )
    (root / "evaluation/forest.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
