"""Scores of the patches of a slide: where a model looked, and what it made of what it saw."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from wsi.storage import load_npz, save_npz

CONTRIBUTION, SPREAD, PROBABILITY = "contribution/", "spread/", "probability/"
"""In front of the slide's name, which has no slash."""
ATTENTION, EVIDENCE = "attention", "evidence"


@dataclass(frozen=True)
class SlideScores:
    """Scores of the N patches of one slide.

    Shapes
    ------
    attention [N]; contribution [N, K] or None; spread [N] or None; probability [N, C] or None.

    Attributes
    ----------
    kind : ``attention``, which sums to 1 over the slides of a patient, or ``evidence``, scores of a
        model without such a sum (``BagModel.scores_are``).
    towards : the K outputs that the contributions are to, ``risk`` or classes.
    exact : the contributions of a patient add up to the logit less its bias; otherwise they hold to
        first order (``mil.contributions``).
    spread : standard deviation of random attention over its draws.
    probability : of each class for a patch by itself, of a model that classifies patches.
    classes : the C classes.
    """

    attention: np.ndarray
    contribution: np.ndarray | None = None
    kind: str = ATTENTION
    towards: tuple[str, ...] = ()
    exact: bool = False
    spread: np.ndarray | None = None
    probability: np.ndarray | None = None
    classes: tuple[str, ...] = ()


def write_slide_scores(path: str | Path, scores: Mapping[str, SlideScores]) -> None:
    """Write the scores of one model's slides.

    The attention of a slide is the array of its name, [N] float32; its contributions, where the
    model has any, are ``contribution/<slide>``, [N, K] float32, the spread of random attention is
    ``spread/<slide>``, [N] float32, and what patches are by themselves ``probability/<slide>``,
    [N, C] float32.
    """
    arrays = {slide: one.attention for slide, one in scores.items()}
    arrays |= {CONTRIBUTION + slide: one.contribution for slide, one in scores.items()}
    arrays |= {SPREAD + slide: one.spread for slide, one in scores.items()}
    arrays |= {PROBABILITY + slide: one.probability for slide, one in scores.items()}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    first = next(iter(scores.values()), SlideScores(np.zeros(0)))
    said = {"kind": first.kind, "towards": list(first.towards), "exact": first.exact}
    said["classes"] = list(first.classes)
    save_npz(path, attributes=said, **arrays)


def scored_slides(path: str | Path) -> list[str]:
    """Return the slides that a file has scores of, in its order."""
    with ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    return [name for name in names if name != "attributes" and "/" not in name]


def read_attention(path: str | Path) -> dict[str, np.ndarray]:
    """Return the attention [N] on every slide of a file."""
    arrays, _ = load_npz(path)
    return {name: value for name, value in arrays.items() if "/" not in name}


def read_slide_scores(paths: Sequence[str | Path], slide: str) -> SlideScores:
    """Return the scores of one slide, their mean over the models that these files are of.

    What not all of the files have is left out. No other slide is read.
    """
    found = [_read(path, slide) for path in paths]
    first = found[0]
    return SlideScores(
        _mean([one.attention for one in found]),
        _mean([one.contribution for one in found]),
        first.kind,
        first.towards,
        first.exact,
        _mean([one.spread for one in found]),
        _mean([one.probability for one in found]),
        first.classes,
    )


def _mean(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if any(part is None for part in parts) else np.mean(parts, axis=0)


def _read(path: str | Path, slide: str) -> SlideScores:
    with np.load(path, allow_pickle=False) as archive:
        said = json.loads(str(archive["attributes"]))
        attention = archive[slide]
        contribution, spread, probability = (
            archive[kind + slide] if kind + slide in archive.files else None
            for kind in (CONTRIBUTION, SPREAD, PROBABILITY)
        )
    return SlideScores(
        attention,
        contribution,
        said.get("kind", ATTENTION),  # of a file written before models had other kinds
        tuple(said.get("towards", ())),
        bool(said.get("exact", False)),
        spread,
        probability,
        tuple(said.get("classes", ())),
    )
