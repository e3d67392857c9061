"""Putting the page together: tables are read, pictures inlined, one template filled."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.config import encoders, experiments
from mil.report import (
    cohort_flow,
    graph_facts,
    provenance,
    result_tables,
    robustness_tables,
    slide_pictures,
)
from mil.report.cohort_flow import read_table
from mil.report.imported_notes import imported_notes
from mil.report.render import render
from mil.report.sample import shown_slides
from mil.report.slide_notes import slide_notes
from mil.report.speed import speed_facts
from mil.semi_supervised import SemiSupervised
from mil.survival.metrics.kaplan_meier import kaplan_meier
from mil.tables import read_slides
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
    root = Path(root)
    every = [slide.slide_id for slide in read_slides(slides, need_paths=False)]
    shown = shown_slides([slide for slide in every if slide not in config["exclude"]])
    by_encoder = dict(zip(encoders(config), map(read_table, cohorts), strict=True))
    lost = dict(zip(by_encoder, map(read_table, excluded), strict=True))
    labels = read_table(patients).set_index("patient_id")
    left_out = read_table(excluded_patients)
    assigned = [dict(read_table(path).itertuples(index=False)) for path in folds]
    named = experiments(config)
    imported = bool(config["features"]["import"])
    found = read_table(slide_table)
    measured = result_tables.read_metrics(dict(zip(named, metrics, strict=True)))
    figures = zip(kaplan_meier, training_curves, heatmaps, strict=True)

    cohort = _cohort(len(every), by_encoder, lost, labels, left_out, assigned, imported)
    slide_facts = _slides(root, shown, by_encoder, lost, set(labels.index), imported)
    compared = pd.read_csv(comparison, dtype={"experiment": str, "group": str})
    pictured = result_tables.shown_figures(compared)
    results = _results(measured, compared, config["unit"])
    context = {
        **cohort,
        **slide_facts,
        **results,
        "graphs": {
            name: graph_facts.graph_facts(read_table(path))
            for name, path in zip(by_encoder, graphs, strict=True)
        },
        "notes": imported_notes(found) if imported else slide_notes(found),
        "speeds": {
            name: facts
            for name, table in by_encoder.items()
            if speeds and (facts := speed_facts(Path(speeds) / name, table["slide_id"]))
        },
        "config": config,
        "unit": config["unit"],
        "note": note,
        "version": version,
        "config_hash": provenance.config_hash(config),
        "config_text": provenance.config_text(config),
        "packages": json.loads(Path(run).read_text())["packages"],
        "works": provenance.works_to_cite(citation),
        "warnings": [
            *provenance.legacy_offsets(config),
            *provenance.mixed_weights(slide_facts["made_by"]),
            *provenance.seen_before(slide_facts["made_by"], every),
            *cohort_flow.fold_warnings(cohort["folds"]),
            *result_tables.alarm_warnings(dict(zip(named, alarms, strict=True))),
            *result_tables.metric_warnings(measured, config["unit"]),
        ],
        "forest": slide_pictures.inlined(forest),
        "robustness": robustness_tables.curves(robustness),
        "experiments": [_experiment(each, config["training"]) for each in named.values()],
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
    slides: int,
    by_encoder: Mapping[str, pd.DataFrame],
    lost: Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    left_out: pd.DataFrame,
    folds: Sequence[Mapping[str, str]],
    imported: bool,
) -> dict[str, Any]:
    """Return what became of slides and patients."""
    followed = set(labels.index)
    used = followed & set().union(*(table["patient_id"] for table in by_encoder.values()))
    event = {name: int(float(value)) for name, value in labels["event"].items()}
    return {
        "total_slides": slides,
        "exclusions": cohort_flow.exclusions(lost, left_out),
        "slide_flows": {
            name: cohort_flow.slide_flow(
                slides, lost[name], int(table["patient_id"].isin(followed).sum()), imported
            )
            for name, table in by_encoder.items()
        },
        "patient_flow": cohort_flow.patient_flow(followed, left_out, used),
        "folds": cohort_flow.fold_rows(folds, event, used),
        "people": _people(labels.loc[sorted(used)]),
        "patches": {
            name: table["n_patches"].astype(int).tolist() for name, table in by_encoder.items()
        },
    }


def _people(labels: pd.DataFrame) -> dict[str, float]:
    """Return size, events and median follow-up (reverse Kaplan-Meier) of these patients."""
    event = labels["event"].astype(float).to_numpy() == 1
    reverse = kaplan_meier(labels["time"].astype(float).to_numpy(), ~event)
    return {"n": len(labels), "events": int(event.sum()), "follow_up": float(reverse.median[0])}


def _slides(
    root: Path,
    shown: Sequence[str],
    by_encoder: Mapping[str, pd.DataFrame],
    lost: Mapping[str, pd.DataFrame],
    followed: set[str],
    imported: bool,
) -> dict[str, Any]:
    """Return pictures of the slides shown, and what their features, graphs and clusters say."""
    rows = {
        name: table[table["slide_id"].isin(shown)].to_dict("records")
        for name, table in by_encoder.items()
    }
    made_by = {name: provenance.encoder_facts(root, rows[name]) for name in rows}
    unused = {
        row.id: row.kind
        for table in lost.values()
        for row in table.itertuples()
        if row.level == "slide"
    }
    for table in by_encoder.values():
        without = table[~table["patient_id"].isin(followed)]
        unused |= dict.fromkeys(without["slide_id"], "label")
    counts = {row["slide_id"]: int(row["n_patches"]) for its in rows.values() for row in its}
    return {
        "made_by": made_by,
        "random": [name for name, facts in made_by.items() if any(fact.random for fact in facts)],
        "gallery": slide_pictures.gallery(root, shown, unused, counts if imported else None),
        "structures": {name: slide_pictures.structure(root, rows[name]) for name in rows},
    }


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


def _experiment(settings: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an experiment, and what is its own among them."""
    own = {name: v for name, v in settings["training"].items() if v != training.get(name)}
    own |= settings["model_options"] | settings["head_options"]
    semi = SemiSupervised.of(settings)
    told = [f"{name.replace('_', ' ')} {value}" for name, value in own.items()]
    told += [f"semi-supervised: {semi.mode}, labelled {semi.labelled:g}"] if semi else []
    return {**settings, "own": ", ".join(told)}


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
