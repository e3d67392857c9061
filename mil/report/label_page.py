"""The report of a run that predicts classes, grades or numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.config import experiments
from mil.config_task import task_settings
from mil.fold_parts import PARTS
from mil.report import (
    cohort_flow,
    label_tables,
    provenance,
    result_tables,
    robustness_tables,
    slide_pictures,
)
from mil.report.cohort_flow import read_table
from mil.report.render import render
from mil.report.run_facts import experiment_facts, run_facts
from mil.tasks import FIGURES, SCORES_IN_WORDS, task_of
from mil.tasks.labelled import LabelTask
from wsi.storage import atomic

Paths = Sequence[str | Path]
FEW = 5  # of a class in a test part; fewer say next to nothing about a model


def write_label_report(
    *,
    report: str | Path,
    config: Mapping[str, Any],
    root: str | Path,
    slides: str | Path,
    slide_table: str | Path,
    patients: str | Path,
    excluded_patients: str | Path,
    folds: Paths,
    cohorts: Paths,
    excluded: Paths,
    graphs: Paths,
    metrics: Paths,
    heatmaps: Paths,
    comparison: str | Path,
    forest: str | Path,
    alarms: Paths,
    citation: str | Path,
    run: str | Path,
    version: str,
    note: str = "",
    robustness: Paths = (),
    speeds: str | Path = "",
) -> None:
    """Write the report as one HTML file without outside parts, dates or host names.

    Parameters
    ----------
    patients : ``cohort/patients.csv`` with the labels.
    metrics, heatmaps, alarms : files of each experiment, in the order of
        ``mil.config.experiments``; the figures of ``mil.tasks.FIGURES`` and the training curves lie
        beside ``metrics.csv``.
    comparison, forest : ``evaluation/comparison.csv`` and ``evaluation/forest.svg``.
    others : as for ``mil.report.page.write_report``.
    """
    task = task_of(task_settings(config))
    labels = pd.read_csv(patients, dtype=str, keep_default_na=False)
    numbers = pd.concat([labels, task.numbers(labels).add_prefix("number_")], axis=1)
    followed = set(labels["patient_id"])
    left_out = read_table(excluded_patients)
    facts = run_facts(
        config=config,
        root=root,
        slides=slides,
        slide_table=slide_table,
        cohorts=cohorts,
        excluded=excluded,
        graphs=graphs,
        left_out=left_out,
        followed=set(labels[f"{task.unit}_id"]),
        known="label",
        unit=task.unit,
        citation=citation,
        run=run,
        version=version,
        note=note,
        speeds=speeds,
    )
    used = followed & facts["with_slides"]
    own = numbers[numbers["patient_id"].isin(used)]
    assigned = [dict(read_table(path).itertuples(index=False)) for path in folds]
    named = experiments(config)
    measured = result_tables.read_metrics(dict(zip(named, metrics, strict=True)))
    compared = pd.read_csv(comparison, dtype={"experiment": str, "group": str})
    pictured = result_tables.shown_figures(compared)
    rows = label_tables.main_rows(compared, measured, task.score)
    beside = {name: Path(path).parent for name, path in zip(named, metrics, strict=True)}
    size = f"{len(used)} patients"
    if task.unit == "slide":
        size += f", {len(own)} labelled slides"
    context = {
        **facts,
        "task": task,
        "score": SCORES_IN_WORDS[task.score],
        "size": f"{size} ({_counted(task, own)})",
        "people": {"n": len(used)},
        "endpoint": _endpoint(task),
        "balance": task.balance,
        "patient_flow": cohort_flow.patient_flow(followed, left_out, used, "a label"),
        "folds": [_fold(task, fold, own) for fold in assigned],
        "main": rows,
        "best": label_tables.best(rows),
        "measures": label_tables.measures(measured, task.score),
        "thresholds": label_tables.threshold_text(measured),
        "warnings": [
            *provenance.legacy_offsets(config),
            *facts["weight_warnings"],
            *_few(task, assigned, own),
            *result_tables.alarm_warnings(dict(zip(named, alarms, strict=True))),
            *label_tables.label_warnings(measured),
        ],
        "robustness": robustness_tables.curves(robustness, task.unit),
        "forest": slide_pictures.inlined(forest),
        "experiments": [experiment_facts(each, config["training"]) for each in named.values()],
        "pictured": [
            {
                "name": name,
                "heatmaps": slide_pictures.inlined(heatmap),
                **{
                    figure: slide_pictures.inlined(beside[name] / f"{figure}.svg")
                    for figure in (*FIGURES[task.name], "training_curves")
                },
            }
            for name, heatmap in zip(named, heatmaps, strict=True)
            if name in pictured
        ],
    }
    with atomic(report) as partial:
        partial.write_text(render("label_page.html", context), encoding="utf-8")


def _endpoint(task: LabelTask) -> str:
    columns = ", ".join(task.columns)
    if not task.classes:
        return f"{columns}, a number"
    if len(task.columns) > 1:
        return f"{columns}, which do not exclude each other"
    positive = f"; {task.classes[1]} is positive" if len(task.classes) == 2 else ""
    return f"{columns}: {', '.join(task.classes)}{positive}"


def _counted(task: LabelTask, table: pd.DataFrame) -> str:
    """Return what the labels of some rows are, in a few words."""
    own = table[[f"number_{column}" for column in task.columns]]
    return task.counted(own.set_axis(list(task.columns), axis=1))


def _fold(task: LabelTask, fold: Mapping[str, str], own: pd.DataFrame) -> dict[str, str]:
    """Return the size of each part of a fold and its labels, in words."""
    parts = own["patient_id"].map(fold)
    return {
        part: f"{own.loc[parts == part, 'patient_id'].nunique()} "
        f"({_counted(task, own[parts == part])})"
        for part in PARTS
    }


def _few(task: LabelTask, folds: Sequence[Mapping[str, str]], own: pd.DataFrame) -> list[str]:
    """Return a sentence on test parts with too few of a class to say anything."""
    few = []
    for k, fold in enumerate(folds):
        test = own[own["patient_id"].map(fold) == "test"]
        for column, value in task.needed():
            count = int((test[column] == value).sum())
            if count < FEW:
                few.append(f"fold {k} ({count} {value})")
    if not few:
        return []
    return [
        f"Fewer than {FEW} of a class in a test part: {', '.join(few)}. The metrics of such a fold "
        "are close to noise."
    ]
