"""How many lesions scores find, and at the price of how many false alarms (FROC)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mil.bags import Bag, BagError
from mil.data.edges import grid_edges
from mil.problems import InputError

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms a slide at which CAMELYON16 asks for the sensitivity."""
OUTSIDE, NOT_COUNTED = -1, -2


@dataclass(frozen=True)
class Froc:
    """Sensitivity for lesions against false alarms a slide.

    Attributes
    ----------
    score : mean of ``sensitivity``.
    sensitivity : [R] at each of ``rates``, between thresholds on the line from one to the next.
    rates : [R] false alarms a slide.
    false_alarms, found : [T] a slide, and the share of lesions, at each threshold, the highest
        first, from 0, 0.
    lesions, slides : how many.
    """

    score: float
    sensitivity: NDArray[np.float64]
    rates: NDArray[np.float64]
    false_alarms: NDArray[np.float64]
    found: NDArray[np.float64]
    lesions: int
    slides: int


def froc(
    scores: ArrayLike,
    lesion: ArrayLike,
    slides: int,
    lesions: int,
    rates: Sequence[float] = RATES,
) -> Froc:
    """Return the free-response curve of CAMELYON16 (Ehteshami Bejnordi et al., JAMA 2017).

    A lesion is found at a threshold if a detection in it is at least as high; every detection
    outside lesions, on any slide, is a false alarm. A second detection in a lesion is neither.

    Parameters
    ----------
    scores : [n] of the detections on all slides.
    lesion : [n], the number of the lesion a detection lies in, different on every slide; -1 for
        none, -2 for a detection that does not count (in what nobody labelled, or isolated cells).
    slides, lesions : how many there are, those without a detection too.
    rates : false alarms a slide.

    Raises
    ------
    mil.problems.InputError : no lesion, fewer than detections lie in, or undefined scores.
    """
    scores, lesion = np.asarray(scores, dtype=np.float64), np.asarray(lesion)
    if scores.shape != lesion.shape or scores.ndim != 1:
        raise InputError(
            [f"scores are {list(scores.shape)} and lesion {list(lesion.shape)}; both must be [n]."]
        )
    numbers, of = np.unique(lesion[lesion >= 0], return_inverse=True)
    if lesions < max(len(numbers), 1) or slides < 1:
        raise InputError(
            [
                f"froc: {slides} slides and {lesions} lesions, and detections lie in "
                f"{len(numbers)}. There must be one slide and one lesion, and none less than that."
            ]
        )
    if np.isnan(scores).any():
        raise InputError([f"froc: {int(np.isnan(scores).sum())} scores are NaN."])
    highest = np.full(len(numbers), -np.inf)
    np.maximum.at(highest, of, scores[lesion >= 0])
    alarms = scores[lesion == OUTSIDE]
    thresholds = np.unique(np.concatenate([highest, alarms]))[::-1]
    false_alarms = np.concatenate([[0.0], _at_least(alarms, thresholds) / slides])
    found = np.concatenate([[0.0], _at_least(highest, thresholds) / lesions])
    sensitivity = np.interp(rates, false_alarms, found)
    return Froc(
        score=float(sensitivity.mean()),
        sensitivity=sensitivity,
        rates=np.asarray(rates, dtype=np.float64),
        false_alarms=false_alarms,
        found=found,
        lesions=lesions,
        slides=slides,
    )


def froc_of_bags(
    bag: Bag, scores: Tensor, radius: float = 3.0, rates: Sequence[float] = RATES
) -> Froc:
    """Return the free-response curve of scores [N] of instances with labels and coordinates.

    Lesions are positive instances that touch (``lesions_of``), detections what is left of the
    scores when neighbours of higher ones are taken away (``detections``). Scores must be comparable
    between bags, as for ``mil.instance_metrics``.

    Raises
    ------
    mil.bags.BagError : bags without labels of instances or without coordinates.
    mil.problems.InputError : no positive instance, or another ``radius`` than a grid has.
    """
    lesion = lesions_of(bag)
    rows = detections(bag, scores, radius)
    many = int(lesion.max()) + 1
    return froc(scores[rows].cpu(), lesion[rows].cpu(), len(bag), max(many, 0), rates)


def lesions_of(bag: Bag) -> Tensor:
    """Return the number [N] of the lesion each instance is part of, counted over all bags.

    Positive instances are of one lesion if they touch, at a side or a corner, or by others. It is
    -1 of negative instances and -2 of those whose label is unknown.

    Raises
    ------
    mil.bags.BagError : bags without labels of instances or without coordinates.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if bag.instance_label is None:
        raise BagError(["no labels of instances, of which lesions are made (instance_label)."])
    label = bag.instance_label.cpu().numpy()
    source, target = grid_edges(bag).cpu().numpy()
    inside = (label[source] == 1) & (label[target] == 1)
    joined = coo_array(
        (np.ones(inside.sum()), (source[inside], target[inside])), shape=(len(label), len(label))
    )
    _, part = connected_components(joined, directed=False)
    lesion = np.where(label == 0, OUTSIDE, NOT_COUNTED)
    lesion[label == 1] = np.unique(part[label == 1], return_inverse=True)[1]
    return torch.from_numpy(lesion)


def detections(bag: Bag, scores: Tensor, radius: float = 3.0) -> Tensor:
    """Return the rows [n] of instances that no higher one is near to, the highest first.

    The highest score of all is a detection; those within ``radius`` steps of the grid around it
    are not; then the highest of the others, and so on. Of equal scores the first row counts.

    Raises
    ------
    mil.bags.BagError : bags without coordinates.
    mil.problems.InputError : a radius below 1 or above 8.
    """
    source, target = grid_edges(bag, radius).cpu().numpy()
    order = np.argsort(source, kind="stable")
    ends = np.concatenate([[0], np.bincount(source, minlength=len(scores)).cumsum()])
    near = target[order]
    free = np.ones(len(scores), bool)
    kept = []
    for row in torch.argsort(scores.detach().cpu(), descending=True, stable=True).tolist():
        if free[row]:
            kept.append(row)
            free[near[ends[row] : ends[row + 1]]] = False
    return torch.tensor(kept)


def _at_least(values: NDArray, thresholds: NDArray) -> NDArray[np.int64]:
    """Return how many of the values reach each threshold."""
    return len(values) - np.searchsorted(np.sort(values), thresholds)
