"""Where a model looked: attention drawn over slides of test patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mil.heatmap_picture import Panel, draw_message, draw_panels
from wsi.storage import load_npz, read_features


@dataclass(frozen=True)
class TestPatient:
    """A patient in the test part of a fold.

    Attributes
    ----------
    patient_id, fold : who, and in which fold's test part.
    percentile : of its risk among the `n` test patients of the fold, 0-100, 100 worst.
    time, event : observed follow-up, and whether it ended in an event.
    """

    __test__ = False  # not a test, whatever pytest takes its name for

    patient_id: str
    fold: int
    percentile: float
    n: int
    time: float
    event: bool


def draw_heatmaps(
    *,
    name: str,
    attention: Sequence[str | Path],
    predictions: Sequence[str | Path],
    cohort: str | Path,
    root: str | Path,
    heatmaps: str | Path,
    slides: int,
    unit: str = "",
) -> None:
    """Draw the attention of one experiment on a few slides, as one picture.

    The slides belong to test patients spread evenly over the predicted risk, from the highest to
    the lowest. Of a patient with several slides the one with most attention is drawn. The colour is
    the percentile of a patch's attention within its slide: attention has no sign and no unit, and
    its size falls with the number of patches, so that only the order can be compared.

    Parameters
    ----------
    name : of the experiment, for the title.
    attention, predictions : by fold, what ``predict_fold`` wrote.
    cohort : usable slides (``gather_cohort``).
    root : the results folder; ``tissue/<slide>.jpg`` and ``tissue/<slide>.geojson`` are read there.
    heatmaps : JPEG to write; with nothing to draw it says why.
    slides : how many slides at most.
    unit : of the observed times.

    Raises
    ------
    ValueError : attention and features of a slide differ in length.
    """
    table = pd.read_csv(cohort, dtype={"slide_id": str, "patient_id": str})
    known = set(table["patient_id"])
    patients = [p for p in read_test_patients(predictions) if p.patient_id in known]
    chosen = spread(patients, slides)
    if not chosen:
        why = "none was asked for" if slides < 1 else "no test patient has a usable slide"
        draw_message(f"{name}: no attention heatmap, since {why}.", heatmaps)
        return
    panels = [_panel(patient, attention, table, Path(root), unit) for patient in chosen]
    draw_panels(f"{name}: attention on slides of {len(panels)} test patients", panels, heatmaps)


def read_test_patients(predictions: Sequence[str | Path]) -> list[TestPatient]:
    """Return the test patients of all folds; of a patient tested in several repeats the first."""
    found: dict[str, TestPatient] = {}
    for fold, path in enumerate(predictions):
        table = pd.read_csv(path, dtype={"patient_id": str})
        test = table[table["part"] == "test"]
        rank = rankdata(test["risk"]) - 0.5
        for row, above in zip(test.itertuples(), rank, strict=True):
            percentile = 100 * above / len(test)
            patient = TestPatient(
                row.patient_id, fold, percentile, len(test), float(row.time), bool(row.event)
            )
            found.setdefault(row.patient_id, patient)
    return list(found.values())


def spread(patients: Sequence[TestPatient], count: int) -> list[TestPatient]:
    """Return up to `count` patients evenly over the risk, the highest first, the lowest last."""
    ordered = sorted(patients, key=lambda p: (-p.percentile, p.patient_id))
    places = np.rint(np.linspace(0, len(ordered) - 1, min(max(count, 0), len(ordered))))
    return [ordered[int(place)] for place in places]


def percentile_within(attention: np.ndarray) -> np.ndarray:
    """Return the percentile of each value among all, ``[N]`` in 0-100; equal values share one."""
    return 100 * (rankdata(attention) - 0.5) / len(attention)


def _panel(
    patient: TestPatient,
    attention: Sequence[str | Path],
    table: pd.DataFrame,
    root: Path,
    unit: str,
) -> Panel:
    by_slide, _ = load_npz(attention[patient.fold])
    its = table[table["patient_id"] == patient.patient_id]
    mass = {slide: float(by_slide[slide].sum()) for slide in its["slide_id"]}
    slide = max(mass, key=mass.__getitem__)
    path = its.loc[its["slide_id"] == slide, "features"].item()
    _, coords, attributes = read_features(root / path)
    if len(coords) != len(by_slide[slide]):
        raise ValueError(
            f"slide {slide}: attention of {len(by_slide[slide])} patches, but {path} has "
            f"{len(coords)}; predict fold {patient.fold} again."
        )
    imported = attributes["stage"] == "import_features"
    return Panel(
        thumbnail=root / f"tissue/{slide}.jpg",
        tissue=None if imported else root / f"tissue/{slide}.geojson",
        coords=coords - attributes["bounds"][:2],
        footprint=float(attributes["footprint0"]),
        extent=(float(attributes["bounds"][2]), float(attributes["bounds"][3])),
        mpp=_known_mpp(attributes),
        percentile=percentile_within(by_slide[slide]),
        caption="\n".join(_caption(patient, slide, mass, unit)),
    )


def _known_mpp(attributes: dict[str, object]) -> float | None:
    """Return um per level-0 pixel, or None where it was only assumed to look for tissue."""
    assumed = str(attributes.get("mpp_source", "")).startswith("assumed")
    return None if assumed or "mpp0" not in attributes else float(attributes["mpp0"])


def _caption(patient: TestPatient, slide: str, mass: dict[str, float], unit: str) -> Iterator[str]:
    several = ""
    if len(mass) > 1:
        several = f", {mass[slide]:.0%} of the attention on the patient's {len(mass)} slides"
    yield f"Slide {slide}{several}"
    seen = "event at" if patient.event else "no event until"
    time = f"{patient.time:.4g} {unit}".strip()
    yield (
        f"Patient {patient.patient_id}: risk at percentile {patient.percentile:.0f} of the "
        f"{patient.n} test patients of fold {patient.fold}; {seen} {time}"
    )
