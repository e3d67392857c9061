"""Patients, follow-up and folds of TCGA-BRCA as AdvMIL publishes them, with simulated tissue."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mil.fixed_folds import read_fixed_fold
from mil.seeds import seed_for
from mil.survival.metrics.concordance import harrell_c
from mil.survival.metrics.kaplan_meier import censoring_survival
from mil.tables import read_patients
from studies.simulated_cohort import SimulatedCohort, write_cohort
from studies.simulated_tissue import corner_views, plant_regions, whole_tiles

WIDTH = 32
SHAPE = 1.44  # of the Weibull distribution that fits the cohort's own times (lifelines)
SLOPE = 3.5  # log hazard of a patient all of whose tissue is planted, over one without
REGIONS = (1, 3)  # least and most of a patient
CLUSTERS = 32  # so that a patient of one region, with sixteen patches, leaves half of them empty


def simulate(tables: str | Path, work: str | Path) -> tuple[dict[str, SimulatedCohort], int]:
    """Write the cohort twice, with whole tiles and with corner views.

    Follow-up is the real one: a censored patient is followed as long as in the table, one with an
    event longer, as the censoring curve of all says. Event times are Weibull with the planted
    hazard, on the scale on which as many events as in the table are expected.

    Parameters
    ----------
    tables : folder with `table/tcga_brca_path_full.csv` and `data_split/tcga_brca-fold<k>.npz`.
    work : the folder to write to.

    Returns
    -------
    cohorts : ``tiles``, with clusters, and ``corner``.
    folds : their number.
    """
    tables, work = Path(tables), Path(work)
    random = np.random.default_rng(seed_for(0, "legacy ablation"))
    real = read_patients(tables / "table/tcga_brca_path_full.csv")
    time, event = (np.array([getattr(p, key) for p in real]) for key in ("time", "event"))
    share = random.uniform(0, 1, len(real))
    followed = follow_up(time, event, random)
    risk = np.exp(SLOPE * (share - 0.5))
    scale = _scale(followed, risk, event.sum())
    failed = scale * (random.exponential(1, len(real)) / risk) ** (1 / SHAPE)
    ids = [patient.patient_id for patient in real]
    labels = pd.DataFrame(
        {
            "patient_id": ids,
            "time": np.minimum(failed, followed).round(3).clip(0.001),
            "event": (failed <= followed).astype(int),
        }
    )
    folds = [read_fixed_fold(path) for path in sorted(tables.glob("data_split/tcga_brca-*.npz"))]
    regions = dict(zip(ids, random.integers(REGIONS[0], REGIONS[1] + 1, len(ids)), strict=True))
    cohorts = {}
    for name, views in (("tiles", whole_tiles()), ("corner", corner_views())):
        bags = {}
        for patient, part in zip(ids, share, strict=True):
            own = np.random.default_rng(seed_for(0, "legacy ablation", patient))
            bags[patient] = plant_regions(part, regions[patient], WIDTH, views, own)
        clusters = CLUSTERS if name == "tiles" else None
        cohorts[name] = write_cohort(work / name, bags, labels, folds, clusters)
    truth = harrell_c(labels["time"], labels["event"], risk).value
    print(f"{labels['event'].sum()} events of {len(ids)}; C of the true hazard {truth:.3f}")
    return cohorts, len(folds)


def follow_up(
    time: NDArray[np.float64], event: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Return how long every patient could have been followed, [n].

    A censored patient: as long as it was. One with an event: a later time of the censoring curve,
    or the longest of all where that has none.
    """
    curve = censoring_survival(time, event)
    longest = time.max()
    grid = np.unique(time[event == 0])
    mass = -np.diff(curve.at(grid), prepend=1.0)
    found = time.astype(np.float64)
    for i in np.flatnonzero(event):
        later = grid > time[i]
        weight = mass[later]
        found[i] = random.choice(grid[later], p=weight / weight.sum()) if later.any() else longest
    return found


def _scale(follow_up: NDArray[np.float64], risk: NDArray[np.float64], events: int) -> float:
    """Return the Weibull scale on which so many events are expected, by bisection."""
    low, high = 1.0, 1e7
    for _ in range(100):
        scale = (low * high) ** 0.5
        expected = (1 - np.exp(-risk * (follow_up / scale) ** SHAPE)).sum()
        low, high = (scale, high) if expected > events else (low, scale)
    return scale
