"""What became of slides and patients, step by step; nobody is lost silently."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mil.fold_parts import PARTS

FEW_EVENTS = 5  # in a test part; fewer say next to nothing about a model

# What the outcomes of each stage mean for the flow; find_tissue opens the slide, too.
_STEPS = (
    ("not left out on purpose", {"configuration"}),
    ("opened, scale known", {"find_tissue"}),
    ("with tissue", {"find_tissue"}),
    ("with patches", {"make_patches"}),
    ("with features", {"extract_features"}),
)
_STEPS_OF_IMPORT = (
    ("not left out on purpose", {"configuration"}),
    ("with sound features", {"import_features"}),
)
_KINDS = {
    "unreadable": "cannot be read",
    "no_scale": "no scale",
    "no_tissue": "no tissue",
    "damaged": "damaged",
    "no_features": "no features",
    "no_coords": "no coordinates",
    "crash": "crashed",
    "excluded": "left out on purpose",
    "no_slide": "no usable slide",
    "label": "no usable label",
}


@dataclass(frozen=True)
class Step:
    """How many are left after a step, and what became of those that are not, in words."""

    label: str
    left: int
    lost: str = ""


@dataclass(frozen=True)
class Exclusion:
    """A slide or a patient that is not used, and why."""

    level: str
    id: str
    patient_id: str
    stage: str
    kind: str
    reason: str

    @property
    def words(self) -> str:
        """Its kind in words."""
        return words(self.kind)


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a CSV with ids as text and empty cells as empty text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def words(kind: str) -> str:
    """Return the kind of an outcome in words."""
    return _KINDS.get(kind, kind.replace("_", " "))


def exclusions(excluded: Mapping[str, pd.DataFrame], patients: pd.DataFrame) -> list[Exclusion]:
    """Return every excluded slide and patient once, slides first.

    Parameters
    ----------
    excluded : ``cohort/<encoder>.excluded.csv`` by encoder; what only some of several exclude
        names them.
    patients : ``cohort/excluded_patients.csv``.
    """
    by_encoder: dict[tuple[str, ...], list[str]] = {}
    for encoder, table in excluded.items():
        for row in table.itertuples(index=False):
            by_encoder.setdefault(tuple(row), []).append(encoder)
    found = []
    for (*where, stage, kind, reason), names in by_encoder.items():
        only = f" ({', '.join(names)})" if len(names) < len(excluded) else ""
        # the table names slide and patient beside the reason
        told = reason.removeprefix(f"{where[0]} {where[1]}: ")
        found.append(Exclusion(*where, stage + only, kind, told))
    found += [
        Exclusion("patient", row.patient_id, row.patient_id, "make_folds", "label", row.reason)
        for row in patients.itertuples()
    ]
    return sorted(found, key=lambda entry: entry.level != "slide")


def slide_flow(
    total: int,
    excluded: pd.DataFrame,
    used: int,
    imported: bool = False,
    known: str = "follow-up",
) -> list[Step]:
    """Return the way of the slides from the table to the bags of patients with follow-up.

    Parameters
    ----------
    total : slides in the table.
    excluded : ``cohort/<encoder>.excluded.csv``.
    used : usable slides of patients with a usable follow-up.
    imported : whether features were made elsewhere, so that no stage of ours came before them.
    known : what a patient must have: a usable follow-up, or label.
    """
    stages_here = _STEPS_OF_IMPORT if imported else _STEPS
    slides = excluded[excluded["level"] == "slide"]
    steps, left = [Step("in the slide table", total)], total
    of_slides = {stage for _, stages in stages_here for stage in stages}
    for label, stages in (*stages_here, ("with graph and clusters", None)):
        here = slides[slides["stage"].isin(stages) if stages else ~slides["stage"].isin(of_slides)]
        if label.startswith("opened"):
            here = here[here["kind"] != "no_tissue"]
        elif label == "with tissue":
            here = here[here["kind"] == "no_tissue"]
        left -= len(here)
        if len(here) or stages not in ({"configuration"}, None):
            counts = here["kind"].value_counts().sort_index()
            lost = ", ".join(f"{count} {words(kind)}" for kind, count in counts.items())
            steps.append(Step(label, left, lost))
    lost = f"{left - used} of patients without usable {known}" if left > used else ""
    return [*steps, Step("used", used, lost)]


def patient_flow(
    patients: set[str], excluded: pd.DataFrame, used: set[str], known: str = "follow-up"
) -> list[Step]:
    """Return the way of the patients from both tables to the folds.

    Parameters
    ----------
    patients : with a usable follow-up and a slide in the table.
    excluded : ``cohort/excluded_patients.csv``.
    used : those of `patients` who have a usable slide.
    known : as in `slide_flow`.
    """
    reasons = excluded["reason"].str.split(":").str[0].value_counts().sort_index()
    lost = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    without = len(patients) - len(used)
    return [
        Step("in the tables", len(patients) + len(excluded)),
        Step(f"with {known} and a slide", len(patients), lost),
        Step(
            "with a usable slide", len(used), f"{without} without usable slide" if without else ""
        ),
    ]


def fold_rows(
    folds: Sequence[Mapping[str, str]], event: Mapping[str, int], used: set[str]
) -> list[dict[str, tuple[int, int]]]:
    """Return of each fold ``{part: (n, events)}``, counting the patients that are used."""
    return [
        {
            part: (len(members), sum(event[name] for name in members))
            for part in PARTS
            for members in [[name for name, its in fold.items() if its == part and name in used]]
        }
        for fold in folds
    ]


def fold_warnings(rows: Sequence[dict[str, tuple[int, int]]]) -> list[str]:
    """Return a sentence on test parts with too few events to say anything."""
    few = [
        f"fold {k} ({row['test'][1]})" for k, row in enumerate(rows) if row["test"][1] < FEW_EVENTS
    ]
    if not few:
        return []
    return [
        f"Fewer than {FEW_EVENTS} events in a test part: {', '.join(few)}. "
        "The metric of such a fold is close to noise."
    ]
