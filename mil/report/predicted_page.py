"""The page of a further cohort: what was predicted, by which models, and how well if known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.report.predicted_facts import SHOWN, not_evaluated, predicted_facts
from mil.report.render import render
from mil.report.result_tables import predicted_rows, predicted_warnings, read_metrics
from mil.report.slide_pictures import inlined
from mil.tables import read_patients, read_slides
from wsi.storage import atomic

Paths = Sequence[str | Path]


def write_predicted_report(
    *,
    name: str,
    report: str | Path,
    experiments: Sequence[Mapping[str, Any]],
    models: str,
    root: str | Path,
    slides: str | Path,
    cohorts: Paths,
    excluded: Paths,
    predictions: Paths,
    ensembles: Paths,
    metrics: Paths,
    kaplan_meier: Paths,
    heatmaps: Paths,
    patients: str | Path | None,
    unit: str,
    bootstrap: int,
    version: str,
    note: str = "",
) -> None:
    """Write the page of a predicted cohort, one HTML file without outside parts.

    Parameters
    ----------
    name : of the cohort; its files lie beside the page.
    report : HTML file to write.
    experiments : ``name, model, head, encoder, models`` (their number) of each.
    models : results folder that the models came from, empty for this run's.
    root : the results folder, for the feature files.
    slides : its slide table.
    cohorts, excluded : ``cohort/<encoder>.csv`` and ``.excluded.csv``, by encoder in order of name.
    predictions : ``predictions.csv`` of every model, experiment by experiment, fold by fold.
    ensembles : ``ensemble/predictions.csv`` of each experiment.
    metrics, kaplan_meier, heatmaps : of each experiment; none without follow-up.
    patients : its patient table, None where follow-up is not known.
    unit, bootstrap : of the times; draws behind the intervals.
    version, note : of this software; a sentence for the top of the page.
    """
    names = [each["name"] for each in experiments]
    joined = dict(zip(names, map(_read_predictions, ensembles), strict=True))
    measured = read_metrics(dict(zip(names, metrics, strict=True))) if metrics else {}
    figures = zip(names, kaplan_meier, heatmaps, strict=True) if metrics else ()
    facts = predicted_facts(
        name=name,
        experiments=experiments,
        models=models,
        root=root,
        slides=slides,
        cohorts=cohorts,
        excluded=excluded,
        predictions=predictions,
        left_out=not_evaluated(_without_follow_up(patients, slides, unit)),
        bootstrap=bootstrap,
        version=version,
        note=note,
    )
    facts["warnings"] += [
        line for each, its in measured.items() for line in predicted_warnings(each, its, unit)
    ]
    context = {
        **facts,
        "known": "follow-up",
        "experiments": [{**each, "rows": _preview(joined[each["name"]])} for each in experiments],
        "n": len(next(iter(joined.values()))),
        "measured": {each: predicted_rows(its, unit) for each, its in measured.items()},
        "figures": {
            each: {"kaplan_meier": inlined(curve), "heatmaps": inlined(heat)}
            for each, curve, heat in figures
        },
        "unit": unit,
    }
    with atomic(report) as partial:
        partial.write_text(render("predicted.html", context), encoding="utf-8")


def _without_follow_up(
    patients: str | Path | None, slides: str | Path, unit: str
) -> dict[str, str]:
    """Return why patients with slides cannot be evaluated, by id; empty where nobody is."""
    if patients is None:
        return {}
    table = {patient.patient_id: patient for patient in read_patients(patients, unit)}
    with_slides = {slide.patient_id for slide in read_slides(slides, need_paths=False)}
    return {
        name: table[name].unusable if name in table else "not in the patient table"
        for name in with_slides
        if name not in table or table[name].unusable
    }


def _read_predictions(path: str | Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"patient_id": str, "time_flag": str, "group": str})


def _preview(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the patients with the highest risk as text."""
    order = table.sort_values(["risk", "patient_id"], ascending=[False, True])
    return [_as_text(row) for row in order.head(SHOWN).to_dict("records")]


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    def shown(value: float) -> str:
        return "–" if pd.isna(value) else "∞" if value == float("inf") else f"{value:.4g}"

    time, low, high = (shown(row[name]) for name in ("predicted_time", "low_80", "high_80"))
    flag = "" if pd.isna(row["time_flag"]) else f" ({row['time_flag']})"
    votes = "–" if pd.isna(row["votes_high"]) else f"{row['votes_high']:.0f}"
    return {
        "patient_id": row["patient_id"],
        "risk": shown(row["risk"]),
        "time": f"{time}{flag}",
        "interval": "–" if pd.isna(row["low_80"]) else f"{low} to {high}",
        "group": "–" if pd.isna(row["group"]) else row["group"],
        "votes": votes,
    }
