"""What the report says of a run whatever it predicts: slides, exclusions, encoders, software."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.config import encoders
from mil.report import cohort_flow, graph_facts, provenance, slide_pictures
from mil.report.cohort_flow import read_table
from mil.report.imported_notes import imported_notes
from mil.report.sample import shown_slides
from mil.report.slide_notes import slide_notes
from mil.report.speed import speed_facts
from mil.semi_supervised import SemiSupervised
from mil.tables import read_slides


def run_facts(
    *,
    config: Mapping[str, Any],
    root: str | Path,
    slides: str | Path,
    slide_table: str | Path,
    cohorts: Sequence[str | Path],
    excluded: Sequence[str | Path],
    graphs: Sequence[str | Path],
    left_out: pd.DataFrame,
    followed: set[str],
    known: str = "follow-up",
    unit: str = "patient",
    citation: str | Path,
    run: str | Path,
    version: str,
    note: str,
    speeds: str | Path,
) -> dict[str, Any]:
    """Return that part of a page's context; see ``mil.report.page.write_report``.

    Parameters
    ----------
    left_out : ``cohort/excluded_patients.csv``.
    followed : patients with a usable label and a slide in the table; where slides are the units,
        slides with a label.
    known : what that label is called.
    unit : ``patient`` or ``slide``, what has the label.
    """
    root = Path(root)
    every = [slide.slide_id for slide in read_slides(slides, need_paths=False)]
    shown = shown_slides([slide for slide in every if slide not in config["exclude"]])
    by_encoder = dict(zip(encoders(config), map(read_table, cohorts), strict=True))
    lost = dict(zip(by_encoder, map(read_table, excluded), strict=True))
    imported = bool(config["features"]["import"])
    found = read_table(slide_table)
    slide_facts = _slides(root, shown, by_encoder, lost, followed, unit, imported)
    return {
        **slide_facts,
        "total_slides": len(every),
        "with_slides": set().union(*(table["patient_id"] for table in by_encoder.values())),
        "exclusions": cohort_flow.exclusions(lost, left_out),
        "slide_flows": {
            name: cohort_flow.slide_flow(
                len(every),
                lost[name],
                int(table[f"{unit}_id"].isin(followed).sum()),
                imported,
                known,
            )
            for name, table in by_encoder.items()
        },
        "patches": {
            name: table["n_patches"].astype(int).tolist() for name, table in by_encoder.items()
        },
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
        "note": note,
        "version": version,
        "config_hash": provenance.config_hash(config),
        "config_text": provenance.config_text(config),
        "packages": json.loads(Path(run).read_text())["packages"],
        "works": provenance.works_to_cite(citation),
        "weight_warnings": [
            *provenance.mixed_weights(slide_facts["made_by"]),
            *provenance.seen_before(slide_facts["made_by"], every),
        ],
    }


def _slides(
    root: Path,
    shown: Sequence[str],
    by_encoder: Mapping[str, pd.DataFrame],
    lost: Mapping[str, pd.DataFrame],
    followed: set[str],
    unit: str,
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
        without = table[~table[f"{unit}_id"].isin(followed)]
        unused |= dict.fromkeys(without["slide_id"], "label")
    counts = {row["slide_id"]: int(row["n_patches"]) for its in rows.values() for row in its}
    return {
        "made_by": made_by,
        "random": [name for name, facts in made_by.items() if any(fact.random for fact in facts)],
        "gallery": slide_pictures.gallery(root, shown, unused, counts if imported else None),
        "structures": {name: slide_pictures.structure(root, rows[name]) for name in rows},
    }


def experiment_facts(settings: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an experiment, and what is its own among them."""
    own = {name: v for name, v in settings["training"].items() if v != training.get(name)}
    own |= settings["model_options"] | settings["head_options"]
    semi = SemiSupervised.of(settings)
    told = [f"{name.replace('_', ' ')} {value}" for name, value in own.items()]
    told += [f"semi-supervised: {semi.mode}, labelled {semi.labelled:g}"] if semi else []
    return {**settings, "own": ", ".join(told)}
