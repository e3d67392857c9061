"""What made the features that a model learnt from, and whether others are their like."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mil.cohort import OF_ORIGIN
from mil.problems import InputError, listed

NOT_SAID = ("", "not said")
SAME_SIDE = 1.1  # sides of patches that differ by less are alike: a level is read as it is

_WORDS = {
    "encoder": ("encoder", "choose the encoder of the models"),
    "weights_sha256": ("weights (SHA-256)", "give that encoder the weights of the models"),
    "patch_px": ("side of a patch in pixels", "set patches.size to that of the models"),
    "neighbours": ("neighbours of a patch", "set graphs.neighbours to that of the models"),
    "clusters_k": ("clusters of a patient", "set clusters.k to that of the models"),
}
_NEEDED_BY = {"neighbours": "graph", "clusters_k": "cluster"}  # of others every model depends on

log = logging.getLogger(__name__)


class OriginError(InputError):
    """Features that are not of the kind a model was trained on."""


def feature_origin(cohort: str | Path, patients: Sequence[str]) -> dict[str, list[Any]]:
    """Return what the features of these patients come from, to be stored with a model.

    Parameters
    ----------
    cohort : ``cohort/<encoder>.csv``.
    patients : ids.

    Returns
    -------
    For each column of ``mil.cohort.OF_ORIGIN`` its different values, sorted; one where all slides
    agree, none where nobody says. Of ``patch_um``, the side of a patch in um, least and most.
    """
    table = _origins(cohort)
    own = table[table["patient_id"].isin(set(patients))]
    found = {column: _values(own[column]) for column in OF_ORIGIN}
    sides = [float(side) for side in found["patch_um"]]
    numbers = ("patch_px", "neighbours", "clusters_k")
    return {
        **{name: found[name] for name in ("encoder", "weights_sha256")},
        **{name: sorted(int(float(value)) for value in found[name]) for name in numbers},
        "patch_um": [min(sides), max(sides)] if sides else [],
    }


def check_origin(
    trained_on: dict[str, list[Any]], cohort: str | Path, needs: Sequence[str], model: str
) -> None:
    """Refuse features that a model has not learnt to read.

    What is not known of either side cannot be compared: it is logged and let pass.

    Parameters
    ----------
    trained_on : what ``feature_origin`` said of the training part.
    cohort : ``cohort/<encoder>.csv`` of the patients to predict.
    needs : what the model reads besides features: ``graph``, ``cluster``.
    model : its name, for the sentences.

    Raises
    ------
    OriginError : with a sentence for each difference, naming the slides.
    """
    table = _origins(cohort)
    problems = list(_side_problems(trained_on.get("patch_um", []), table, model))
    for column, (words, mend) in _WORDS.items():
        if column in _NEEDED_BY and _NEEDED_BY[column] not in needs:
            continue
        known = [str(value) for value in trained_on.get(column, [])]
        if not known or not _values(table[column]):
            log.warning("%s: whether %s is as in training is not known.", model, words)
            continue
        for value in _values(table[column]):
            if value not in known:
                slides = table.loc[table[column] == value, "slide_id"]
                problems.append(
                    f"{model} was trained with {words} {listed(known)}, but it is {value} for "
                    f"slides {listed(slides)}; {mend}."
                )
    if problems:
        raise OriginError(problems)


def _side_problems(known: Sequence[float], table: pd.DataFrame, model: str) -> Iterator[str]:
    """Yield a sentence on patches of another physical size."""
    side = pd.to_numeric(table["patch_um"], errors="coerce")
    if not len(known) or side.isna().all():
        log.warning("%s: whether patches are as large as in training is not known.", model)
        return
    other = table[(side < known[0] / SAME_SIDE) | (side > known[1] * SAME_SIDE)]
    if len(other):
        yield (
            f"{model} was trained on patches with sides of {known[0]:.4g} to {known[1]:.4g} um, "
            f"but they are {side[other.index].min():.4g} to {side[other.index].max():.4g} um on "
            f"slides {listed(other['slide_id'])}; set scale and patches.size to those of the "
            "models."
        )


def _origins(cohort: str | Path) -> pd.DataFrame:
    """Return the cohort table as text, with empty columns where it has none of the origin."""
    table = pd.read_csv(cohort, dtype=str, keep_default_na=False)
    return table.reindex(columns=["slide_id", "patient_id", *OF_ORIGIN], fill_value="")


def _values(column: pd.Series) -> list[str]:
    return sorted(set(column) - set(NOT_SAID))
