"""Where a model looked and what it made of that, drawn over slides of test patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mil.annotations import read_outlines
from mil.follow_up import read_follow_up
from mil.heatmap_picture import Panel, draw_message, draw_panels
from mil.labelled.known_labels import with_labels
from mil.labelled.ranking import ranked
from mil.score_maps import score_maps
from mil.slide_scores import ATTENTION, SlideScores, read_slide_scores
from mil.tasks import task_of
from mil.tasks.labelled import LabelTask
from wsi.storage import load_npz, read_features, read_outcome


@dataclass(frozen=True)
class TestPatient:
    """A patient in the test part of a fold, or of a further cohort.

    Attributes
    ----------
    patient_id : who; of a slide, where those are predicted, its own id.
    attention : files with the attention on its slides, of one model or of several.
    percentile : of its risk among the `n` patients of `group`, 0-100, 100 worst; where labels are
        predicted, what they are ordered by instead.
    group : among whom, e.g. ``test patients of fold 0``.
    seen : what happened, in words.
    said : what was predicted, in words; of survival the percentile says it.
    unit : ``patient`` or ``slide``.
    """

    __test__ = False  # not a test, whatever pytest takes its name for

    patient_id: str
    attention: tuple[str | Path, ...]
    percentile: float
    n: int
    group: str
    seen: str
    said: str = ""
    unit: str = "patient"


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
    task: Mapping[str, Any] | None = None,
    annotations: Sequence[str | Path] = (),
) -> None:
    """Draw the scores of one experiment on a few slides, as one picture.

    The slides belong to test patients spread evenly over the predicted risk (or probability), from
    the highest to the lowest. Of a patient with several slides the one with most attention is
    drawn. Beside the slide stand its attention and, of a model that has them, the contributions of
    its patches to what is predicted; ``mil.score_maps`` says what the colours mean.

    Parameters
    ----------
    name : of the experiment, for the title.
    attention, predictions : by fold, what ``predict_fold`` wrote.
    cohort : usable slides (``gather_cohort``).
    root : the results folder; ``tissue/<slide>.jpg`` and ``tissue/<slide>.geojson`` are read there.
    heatmaps : JPEG to write; with nothing to draw it says why.
    slides : how many slides at most.
    unit : of the observed times.
    task : what is predicted, see ``mil.tasks``; None for survival.
    annotations : ``<slide>.geojson`` of annotated slides, drawn around the regions; the labels of
        their patches, in an npz of the same name beside it, have a column of their own.

    Raises
    ------
    ValueError : attention and features of a slide differ in length.
    """
    patients = read_test_patients(predictions, attention, unit, task)
    kind = f"test {task_of(task).unit}"
    _draw(name, kind, patients, cohort, root, heatmaps, slides, annotations)


def draw_predicted_heatmaps(
    *,
    name: str,
    attention: Sequence[str | Path],
    ensemble: str | Path,
    labels: str | Path,
    cohort: str | Path,
    root: str | Path,
    heatmaps: str | Path,
    slides: int,
    unit: str = "",
    task: Mapping[str, Any] | None = None,
    annotations: Sequence[str | Path] = (),
) -> None:
    """Draw the scores of one experiment on slides of a further cohort, averaged over models.

    Parameters
    ----------
    attention : of the model of each fold, what ``predict_cohort`` wrote.
    ensemble : what ``join_models``, or ``join_label_models``, wrote.
    labels : table of follow-up or labels of the cohort; those are shown who are evaluated, too.
    name, cohort, root, heatmaps, slides, unit, task, annotations : as for `draw_heatmaps`.
    """
    predicted = task_of(task)
    table = pd.read_csv(ensemble, dtype={"patient_id": str, "slide_id": str})
    fresh = table[table["seen_by"] == 0]
    group = f"{predicted.unit}s of the cohort"
    if task is None:
        judged = fresh.join(read_follow_up(labels, unit), on="patient_id")
        found = _ranked(judged[judged["time"].notna()], tuple(attention), group, unit)
    else:
        judged = with_labels(fresh, labels, predicted)
        found = _ranked_by_label(judged, tuple(attention), group, predicted)
    _draw(name, predicted.unit, found, cohort, root, heatmaps, slides, annotations)


def _draw(
    name: str,
    kind: str,
    patients: Sequence[TestPatient],
    cohort: str | Path,
    root: str | Path,
    heatmaps: str | Path,
    slides: int,
    annotations: Sequence[str | Path],
) -> None:
    table = pd.read_csv(cohort, dtype={"slide_id": str, "patient_id": str})
    known = {*table["patient_id"], *table["slide_id"]}
    chosen = spread([p for p in patients if p.patient_id in known], slides)
    if not chosen:
        why = "none was asked for" if slides < 1 else f"no {kind} has a usable slide"
        draw_message(f"{name}: no heatmap, since {why}.", heatmaps)
        return
    annotated = {path.stem: path for path in map(Path, annotations) if read_outcome(path).ok}
    panels = [_panel(patient, table, Path(root), annotated) for patient in chosen]
    if not any(panel.annotations for panel in panels):
        panels = [replace(panel, maps=panel.maps[:-1]) for panel in panels]  # all are unknown
    who = f"slides of {len(panels)} {kind}s" if len(panels) > 1 else f"slide of a {kind}"
    draw_panels(f"{name}: {who}", panels, heatmaps)


def read_test_patients(
    predictions: Sequence[str | Path],
    attention: Sequence[str | Path],
    unit: str = "",
    task: Mapping[str, Any] | None = None,
) -> list[TestPatient]:
    """Return the test patients of all folds; of a patient tested in several repeats the first."""
    found: dict[str, TestPatient] = {}
    predicted = task_of(task)
    for fold, (path, weights) in enumerate(zip(predictions, attention, strict=True)):
        ids = {"patient_id": str, "slide_id": str}
        table = pd.read_csv(path, dtype=ids | predicted.dtypes, keep_default_na=task is None)
        test = table[table["part"] == "test"]
        group = f"test {predicted.unit}s of fold {fold}"
        if task is None:
            patients = _ranked(test, (weights,), group, unit)
        else:
            patients = _ranked_by_label(test, (weights,), group, predicted)
        for patient in patients:
            found.setdefault(patient.patient_id, patient)
    return list(found.values())


def _ranked(
    table: pd.DataFrame, attention: tuple[str | Path, ...], group: str, unit: str
) -> list[TestPatient]:
    """Return the patients of a table of predictions with their rank in it."""
    n, rank = len(table), rankdata(table["risk"]) - 0.5
    return [
        TestPatient(row.patient_id, attention, 100 * above / n, n, group, _follow_up(row, unit))
        for row, above in zip(table.itertuples(), rank, strict=True)
    ]


def _follow_up(row: Any, unit: str) -> str:
    seen = "event at" if row.event else "no event until"
    return f"{seen} {row.time:.4g} {unit}".strip()


def _ranked_by_label(
    table: pd.DataFrame, attention: tuple[str | Path, ...], group: str, task: LabelTask
) -> list[TestPatient]:
    """Return the patients (or slides) by what is predicted of them."""
    order, n = ranked(table, task), len(table)
    ids = table[f"{task.unit}_id"]
    return [
        TestPatient(name, attention, float(value), n, group, seen, said, task.unit)
        for name, value, said, seen in zip(ids, order.value, order.said, order.seen, strict=True)
    ]


def spread(patients: Sequence[TestPatient], count: int) -> list[TestPatient]:
    """Return up to `count` patients evenly over the risk, the highest first, the lowest last."""
    ordered = sorted(patients, key=lambda p: (-p.percentile, p.patient_id))
    places = np.rint(np.linspace(0, len(ordered) - 1, min(max(count, 0), len(ordered))))
    return [ordered[int(place)] for place in places]


def _panel(
    patient: TestPatient, table: pd.DataFrame, root: Path, annotated: Mapping[str, Path]
) -> Panel:
    """Return the row of a patient; its last map is of labels, -1 on a slide without annotations."""
    its = table[table[f"{patient.unit}_id"] == patient.patient_id]
    scores = {slide: read_slide_scores(patient.attention, slide) for slide in its["slide_id"]}
    slide, several = _most(scores)
    path = its.loc[its["slide_id"] == slide, "features"].item()
    _, coords, attributes = read_features(root / path)
    if len(coords) != len(scores[slide].attention):
        raise ValueError(
            f"slide {slide}: attention of {len(scores[slide].attention)} patches, but {path} has "
            f"{len(coords)}; predict again."
        )
    labels = np.full(len(coords), -1)
    if slide in annotated:
        labels = load_npz(annotated[slide].with_suffix(".npz"))[0]["label"]
    imported = attributes["stage"] == "import_features"
    return Panel(
        thumbnail=root / f"tissue/{slide}.jpg",
        tissue=None if imported else root / f"tissue/{slide}.geojson",
        coords=coords - attributes["bounds"][:2],
        footprint=float(attributes["footprint0"]),
        extent=(float(attributes["bounds"][2]), float(attributes["bounds"][3])),
        mpp=_known_mpp(attributes),
        maps=score_maps(scores[slide], labels),
        caption="\n".join(_caption(patient, slide, several)),
        annotations=read_outlines(annotated[slide]) if slide in annotated else (),
    )


def _most(scores: Mapping[str, SlideScores]) -> tuple[str, str]:
    """Return the slide of a patient to draw, and what to say where there are others.

    It is the slide with most attention; evidence has no shares, so there it is that with the
    strongest patch.
    """
    shared = all(one.kind == ATTENTION for one in scores.values())
    mass = {s: one.attention.sum() if shared else one.attention.max() for s, one in scores.items()}
    slide = max(mass, key=mass.__getitem__)
    if len(mass) == 1:
        return slide, ""
    said = f"{mass[slide]:.0%} of the attention" if shared else "the highest score"
    return slide, f", {said} on the patient's {len(mass)} slides"


def _known_mpp(attributes: dict[str, object]) -> float | None:
    """Return um per level-0 pixel, or None where it was only assumed to look for tissue."""
    assumed = str(attributes.get("mpp_source", "")).startswith("assumed")
    return None if assumed or "mpp0" not in attributes else float(attributes["mpp0"])


def _caption(patient: TestPatient, slide: str, several: str) -> Iterator[str]:
    yield f"Slide {slide}{several}"
    whose = f"Patient {patient.patient_id}: " if patient.unit == "patient" else ""
    said = patient.said or (
        f"risk at percentile {patient.percentile:.0f} of the {patient.n} {patient.group}"
    )
    yield f"{whose}{said}; {patient.seen}"
