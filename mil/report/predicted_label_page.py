"""The page of a further cohort whose labels were predicted, and how well, if they are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mil.label_table import read_labels
from mil.labelled.ranking import ranked
from mil.report.label_tables import predicted_rows, predicted_thresholds, predicted_warnings
from mil.report.predicted_facts import SHOWN, not_evaluated, predicted_facts
from mil.report.render import render
from mil.report.result_tables import number_text, read_metrics
from mil.report.slide_pictures import inlined
from mil.tables import read_slides
from mil.tasks import FIGURES, SCORES_IN_WORDS, task_of
from mil.tasks.labelled import LabelTask
from wsi.storage import atomic

Paths = Sequence[str | Path]


def write_predicted_label_report(
    *,
    name: str,
    report: str | Path,
    task: Mapping[str, Any],
    experiments: Sequence[Mapping[str, Any]],
    models: str,
    root: str | Path,
    slides: str | Path,
    cohorts: Paths,
    excluded: Paths,
    predictions: Paths,
    ensembles: Paths,
    metrics: Paths,
    heatmaps: Paths,
    labels: str | Path | None,
    bootstrap: int,
    version: str,
    note: str = "",
) -> None:
    """Write the page of a predicted cohort, one HTML file without outside parts.

    Parameters
    ----------
    task : see ``mil.tasks``.
    metrics, heatmaps : of each experiment, none without labels; the figures of ``mil.tasks.
        FIGURES`` lie beside ``metrics.csv``.
    labels : table of the labels, None where they are not known.
    others : as for ``mil.report.predicted_page.write_predicted_report``.
    """
    predicted = task_of(task)
    names = [each["name"] for each in experiments]
    ids = {"patient_id": str, "slide_id": str}
    joined = {
        each: pd.read_csv(path, dtype=ids | dict.fromkeys(_decisions(predicted), str))
        for each, path in zip(names, ensembles, strict=True)
    }
    measured = read_metrics(dict(zip(names, metrics, strict=True))) if metrics else {}
    facts = predicted_facts(
        name=name,
        experiments=experiments,
        models=models,
        root=root,
        slides=slides,
        cohorts=cohorts,
        excluded=excluded,
        predictions=predictions,
        left_out=not_evaluated(_without_label(labels, slides, predicted)),
        bootstrap=bootstrap,
        version=version,
        note=note,
    )
    facts["warnings"] += [
        line for each, its in measured.items() for line in predicted_warnings(each, its)
    ]
    context = {
        **facts,
        "known": "label",
        "task": predicted,
        "score": SCORES_IN_WORDS[predicted.score],
        "experiments": [
            {**each, "rows": _preview(joined[each["name"]], predicted)} for each in experiments
        ],
        "columns": _columns(predicted),
        "n": len(next(iter(joined.values()))),
        "measured": {each: predicted_rows(its) for each, its in measured.items()},
        "thresholds": {each: predicted_thresholds(its) for each, its in measured.items()},
        "figures": {
            each: {
                "heatmaps": inlined(heat),
                **{
                    figure: inlined(Path(path).parent / f"{figure}.svg")
                    for figure in FIGURES[predicted.name]
                },
            }
            for each, path, heat in zip(names, metrics, heatmaps, strict=True)
        }
        if metrics
        else {},
    }
    with atomic(report) as partial:
        partial.write_text(render("predicted_labels.html", context), encoding="utf-8")


def _without_label(
    labels: str | Path | None, slides: str | Path, task: LabelTask
) -> dict[str, str]:
    """Return why patients with slides cannot be evaluated, by id; empty where nobody is."""
    if labels is None:
        return {}
    found: dict[str, list[str]] = {}
    for case in read_labels(labels, task.columns, task.classes, task.unit):
        found.setdefault(case.patient_id, []).append(case.unusable)
    with_slides = {slide.patient_id for slide in read_slides(slides, need_paths=False)}
    return {
        name: found[name][0] if name in found else "not in the table of labels"
        for name in with_slides
        if all(found.get(name, ["unknown"]))  # of several slides one label is enough
    }


def _decisions(task: LabelTask) -> list[str]:
    """Return the columns of the decisions; of numbers there are none."""
    if not task.classes:
        return []
    several = len(task.columns) > 1
    return [f"decision_{column}" for column in task.columns] if several else ["decision"]


def _columns(task: LabelTask) -> list[str]:
    """Return the heads of the table of predictions behind the ids."""
    if not task.classes:
        return [f"{task.columns[0]}, predicted", "SD over models"]
    told = [f"P({name})" for name in task.names]
    return [*told, *(column.replace("_", " ").capitalize() for column in _decisions(task))]


def _preview(table: pd.DataFrame, task: LabelTask) -> list[list[str]]:
    """Return id and predictions, as text, of the first patients or slides in the order of ranks."""
    unknown = table.assign(**dict.fromkeys(task.columns, task.classes[0] if task.classes else ""))
    order = np.argsort(-ranked(unknown, task).value, kind="stable")[:SHOWN]
    rows = []
    for row in table.iloc[order].to_dict("records"):
        told = [number_text(row[column]) for column in task.told_columns]
        told += [number_text(row["sd"])] if not task.classes else []
        decided = [row[column] for column in _decisions(task)]
        rows.append([row[f"{task.unit}_id"], *told, *decided])
    return rows
