"""Putting the page together: tables are read, pictures inlined, one template filled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.config import experiments
from mil.report import (
    cohort_flow,
    provenance,
    result_tables,
    robustness_tables,
    slide_pictures,
)
from mil.report.cohort_flow import read_table
from mil.report.render import render
from mil.report.run_facts import experiment_facts, run_facts
from mil.survival.metrics.kaplan_meier import kaplan_meier
from wsi.storage import atomic

Paths = Sequence[str | Path]


def write_report(
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
    kaplan_meier: Paths,
    training_curves: Paths,
    heatmaps: Paths,
    comparison: str | Path,
    forest: str | Path,
    distributions: Mapping[str, Paths],
    alarms: Paths,
    citation: str | Path,
    run: str | Path,
    version: str,
    note: str = "",
    speeds: str | Path = "",
    robustness: Paths = (),
) -> None:
    """Write the report of a run as one HTML file without outside parts, dates or host names.

    What was measured (section Speed) is the one part that differs between equal runs.

    Parameters
    ----------
    report : HTML file to write; its links to tables are relative to `root`.
    config : the validated configuration, defaults filled in.
    root : the results folder. Pictures and coarse patches of the slides shown (a sample, see
        `mil.report.sample`) are read there, and the features, graphs and clusters that the cohort
        tables name for them.
    slides : the slide table.
    slide_table : ``slides.csv`` of the results: what was found on each slide, or in its file.
    patients, excluded_patients : ``cohort/patients.csv`` and ``cohort/excluded_patients.csv``.
    folds : ``folds/fold<k>.csv`` by fold.
    cohorts, excluded, graphs : ``cohort/<encoder>.csv``, ``cohort/<encoder>.excluded.csv`` and
        ``cohort/<encoder>.graphs.csv`` in the order of ``mil.config.encoders``.
    metrics, kaplan_meier, training_curves, heatmaps : files of each experiment, in the order of
        ``mil.config.experiments``; a CSV of the same name lies beside each SVG.
    comparison, forest : ``evaluation/comparison.csv`` and ``evaluation/forest.svg``.
    distributions : files of each experiment for each figure of ``mil.distributions.draw``; a CSV of
        the same name lies beside each SVG.
    alarms : ``alarms.csv`` of each experiment.
    citation : CITATION.cff of this software.
    run : JSON of the last start, see ``mil.provenance.start``; of it the page has the packages.
    version : of this software, with a digest of its code.
    note : sentence for the top of the page, e.g. that the cohort is simulated; may be empty.
    speeds : folder with ``<encoder>/<slide>.json``, how fast each slide was encoded.
    robustness : ``robustness/<curve>.svg``, if any; a CSV of the same name lies beside each.
    """
    labels = read_table(patients).set_index("patient_id")
    left_out = read_table(excluded_patients)
    assigned = [dict(read_table(path).itertuples(index=False)) for path in folds]
    named = experiments(config)
    measured = result_tables.read_metrics(dict(zip(named, metrics, strict=True)))
    figures = zip(kaplan_meier, training_curves, heatmaps, strict=True)

    followed = set(labels.index)
    facts = run_facts(
        config=config,
        root=root,
        slides=slides,
        slide_table=slide_table,
        cohorts=cohorts,
        excluded=excluded,
        graphs=graphs,
        left_out=left_out,
        followed=followed,
        citation=citation,
        run=run,
        version=version,
        note=note,
        speeds=speeds,
    )
    cohort = _cohort(followed, followed & facts["with_slides"], labels, left_out, assigned)
    compared = pd.read_csv(comparison, dtype={"experiment": str, "group": str})
    pictured = result_tables.shown_figures(compared)
    results = _results(measured, compared, config["unit"])
    context = {
        **facts,
        **cohort,
        **results,
        "unit": config["unit"],
        "size": _in_words(cohort["people"]),
        "endpoint": f"time to event, in {config['unit']}",
        "balance": "event",
        "warnings": [
            *provenance.legacy_offsets(config),
            *facts["weight_warnings"],
            *cohort_flow.fold_warnings(cohort["folds"]),
            *result_tables.alarm_warnings(dict(zip(named, alarms, strict=True))),
            *result_tables.metric_warnings(measured, config["unit"]),
        ],
        "forest": slide_pictures.inlined(forest),
        "robustness": robustness_tables.curves(robustness),
        "experiments": [experiment_facts(each, config["training"]) for each in named.values()],
        "pictured": [
            {"name": name} | _figures(*paths)
            for name, paths in zip(named, figures, strict=True)
            if name in pictured
        ],
        "distributions": {
            name: _distributions({figure: paths[k] for figure, paths in distributions.items()})
            for k, name in enumerate(named)
        },
    }
    with atomic(report) as partial:
        partial.write_text(render("page.html", context), encoding="utf-8")


def _cohort(
    followed: set[str],
    used: set[str],
    labels: pd.DataFrame,
    left_out: pd.DataFrame,
    folds: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return what became of the patients."""
    event = {name: int(float(value)) for name, value in labels["event"].items()}
    return {
        "patient_flow": cohort_flow.patient_flow(followed, left_out, used),
        "folds": cohort_flow.fold_rows(folds, event, used),
        "people": _people(labels.loc[sorted(used)]),
    }


def _people(labels: pd.DataFrame) -> dict[str, float]:
    """Return size, events and median follow-up (reverse Kaplan-Meier) of these patients."""
    event = labels["event"].astype(float).to_numpy() == 1
    reverse = kaplan_meier(labels["time"].astype(float).to_numpy(), ~event)
    return {"n": len(labels), "events": int(event.sum()), "follow_up": float(reverse.median[0])}


def _in_words(people: Mapping[str, float]) -> str:
    events = people["events"]
    return f"{people['n']} patients, {events} {'event' if events == 1 else 'events'}"


def _results(
    measured: Mapping[str, pd.DataFrame], comparison: pd.DataFrame, unit: str
) -> dict[str, Any]:
    rows = result_tables.main_rows(measured, comparison)
    return {
        "main": rows,
        "best": result_tables.best(rows),
        "measured": {row.experiment: row for row in rows},
        "measures": {
            table: result_tables.further_measures(measured, unit, table)
            for table in result_tables.TABLES
        },
    }


def _figures(*pictures: str | Path) -> dict[str, str]:
    """Return the figures of an experiment, inlined."""
    names = ("kaplan_meier", "training_curves", "heatmaps")
    return dict(zip(names, map(slide_pictures.inlined, pictures), strict=True))


def _distributions(figures: Mapping[str, str | Path]) -> dict[str, str]:
    """Return the figures of an experiment that show something: those whose CSV has rows."""
    return {
        name: slide_pictures.inlined(path)
        for name, path in figures.items()
        if len(pd.read_csv(Path(path).with_suffix(".csv")))
    }
