"""The page of a further cohort: what was predicted, by which models, and how well if known."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from mil.fold_parts import SEEN
from mil.problems import listed
from mil.report import cohort_flow, provenance
from mil.report.cohort_flow import read_table
from mil.report.render import render
from mil.report.result_tables import predicted_rows, predicted_warnings, read_metrics
from mil.report.slide_pictures import inlined
from mil.tables import read_patients, read_slides
from wsi.storage import atomic

SHOWN = 20  # patients in the table of the page; the CSV has all

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
    root = Path(root)
    encoders = sorted({each["encoder"] for each in experiments})
    by_encoder = dict(zip(encoders, map(read_table, cohorts), strict=True))
    lost = dict(zip(encoders, map(read_table, excluded), strict=True))
    names = [each["name"] for each in experiments]
    joined = dict(zip(names, map(_read_predictions, ensembles), strict=True))
    every = read_slides(slides, need_paths=False)
    made_by = {
        encoder: provenance.encoder_facts(root, table.to_dict("records"))
        for encoder, table in by_encoder.items()
    }
    measured = read_metrics(dict(zip(names, metrics, strict=True))) if metrics else {}
    left_out = _without_follow_up(patients, {slide.patient_id for slide in every}, unit)
    figures = zip(names, kaplan_meier, heatmaps, strict=True) if metrics else ()
    context = {
        "name": name,
        "experiments": [{**each, "rows": _preview(joined[each["name"]])} for each in experiments],
        "models": PurePath(models).name,
        "n": len(next(iter(joined.values()))),
        "total": {"slides": len(every), "patients": len({slide.patient_id for slide in every})},
        "used": {encoder: len(table) for encoder, table in by_encoder.items()},
        "exclusions": cohort_flow.exclusions(lost, left_out),
        "made_by": made_by,
        "random": [n for n, facts in made_by.items() if any(fact.random for fact in facts)],
        "warnings": [
            *_seen(names, predictions),
            *provenance.mixed_weights(made_by),
            *(
                line
                for each, its in measured.items()
                for line in predicted_warnings(each, its, unit)
            ),
        ],
        "measured": {each: predicted_rows(its, unit) for each, its in measured.items()},
        "figures": {
            each: {"kaplan_meier": inlined(curve), "heatmaps": inlined(heat)}
            for each, curve, heat in figures
        },
        "unit": unit,
        "bootstrap": bootstrap,
        "version": version,
        "note": note,
    }
    with atomic(report) as partial:
        partial.write_text(render("predicted.html", context), encoding="utf-8")


def _without_follow_up(
    patients: str | Path | None, with_slides: set[str], unit: str
) -> pd.DataFrame:
    """Return the patients that cannot be evaluated, and why; none where nobody is."""
    columns = ["patient_id", "reason"]
    if patients is None:
        return pd.DataFrame(columns=columns)
    table = {patient.patient_id: patient for patient in read_patients(patients, unit)}
    reasons = [
        (name, f"predicted, not evaluated: {table[name].unusable}")
        if name in table
        else (name, "predicted, not evaluated: not in the patient table")
        for name in sorted(with_slides)
        if name not in table or table[name].unusable
    ]
    return pd.DataFrame(reasons, columns=columns)


def _seen(names: Sequence[str], predictions: Paths) -> list[str]:
    """Return a sentence for each model that was trained or chosen on patients of the cohort."""
    per_experiment = len(predictions) // len(names)
    found = []
    for place, path in enumerate(predictions):
        table = pd.read_csv(path, dtype={"patient_id": str, "part": str})
        seen = table[table["part"].isin(SEEN)]["patient_id"]
        if len(seen):
            name, fold = names[place // per_experiment], place % per_experiment
            found.append(
                f"{name}, model of fold {fold} was trained or chosen on patients of this cohort, "
                f"who are left out of its evaluation: {listed(seen)}."
            )
    return found


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
