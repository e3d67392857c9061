"""What the page of a further cohort says whatever is predicted: slides, encoders, warnings."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from mil.fold_parts import SEEN
from mil.problems import listed
from mil.report import cohort_flow, provenance
from mil.report.cohort_flow import read_table
from mil.tables import read_slides

SHOWN = 20  # patients in the table of the page; the CSV has all

Paths = Sequence[str | Path]


def predicted_facts(
    *,
    name: str,
    experiments: Sequence[Mapping[str, Any]],
    models: str,
    root: str | Path,
    slides: str | Path,
    cohorts: Paths,
    excluded: Paths,
    predictions: Paths,
    left_out: pd.DataFrame,
    bootstrap: int,
    version: str,
    note: str,
) -> dict[str, Any]:
    """Return that part of the page's context; see ``write_predicted_report``.

    Parameters
    ----------
    left_out : ``patient_id, reason`` of those that cannot be evaluated; none where nobody is.
    """
    root = Path(root)
    encoders = sorted({each["encoder"] for each in experiments})
    by_encoder = dict(zip(encoders, map(read_table, cohorts), strict=True))
    lost = dict(zip(encoders, map(read_table, excluded), strict=True))
    every = read_slides(slides, need_paths=False)
    made_by = {
        encoder: provenance.encoder_facts(root, table.to_dict("records"))
        for encoder, table in by_encoder.items()
    }
    return {
        "name": name,
        "models": PurePath(models).name,
        "total": {"slides": len(every), "patients": len({slide.patient_id for slide in every})},
        "used": {encoder: len(table) for encoder, table in by_encoder.items()},
        "exclusions": cohort_flow.exclusions(lost, left_out),
        "made_by": made_by,
        "random": [n for n, facts in made_by.items() if any(fact.random for fact in facts)],
        "warnings": [
            *_seen([each["name"] for each in experiments], predictions),
            *provenance.mixed_weights(made_by),
        ],
        "bootstrap": bootstrap,
        "version": version,
        "note": note,
    }


def not_evaluated(reasons: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of patients that are predicted and not evaluated, by id."""
    rows = [(name, f"predicted, not evaluated: {why}") for name, why in sorted(reasons.items())]
    return pd.DataFrame(rows, columns=["patient_id", "reason"])


def _seen(names: Sequence[str], predictions: Paths) -> list[str]:
    """Return a sentence for each model that was trained or chosen on patients of the cohort."""
    per_experiment = len(predictions) // len(names)
    found = []
    for place, path in enumerate(predictions):
        table = pd.read_csv(path, dtype={"patient_id": str, "part": str})
        seen = table[table["part"].isin(SEEN)]["patient_id"].unique()
        if len(seen):
            name, fold = names[place // per_experiment], place % per_experiment
            found.append(
                f"{name}, model of fold {fold} was trained or chosen on patients of this cohort, "
                f"who are left out of its evaluation: {listed(seen)}."
            )
    return found
