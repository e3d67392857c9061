"""From a score of every patch to a colour: attention, contributions, probabilities and more."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, ListedColormap

from mil.slide_scores import ATTENTION, SlideScores

# Blue, white, red: told apart by colour-blind readers. The ends, nearly black, would hide nuclei.
SIGNED = ListedColormap(matplotlib.colormaps["RdBu_r"](np.linspace(0.1, 0.9, 256)))
ORDERED = matplotlib.colormaps["viridis"]  # perceptually uniform, safe for colour-blind readers
SPREAD = matplotlib.colormaps["magma"]  # likewise, and not taken for the attention beside it
PROBABLE = matplotlib.colormaps["cividis"]  # likewise: 0 to 1 on every slide
BINARY = ListedColormap(["#56b4e9", "#d55e00"])  # Okabe and Ito's light blue and vermilion
STRONGEST = 0.99
"""Quantile of the sizes of a slide's contributions at which colours are deepest."""
SHOWN = 3
"""Outputs, or classes, that are drawn side by side; of more, one is."""


@dataclass(frozen=True)
class ScoreMap:
    """A score of N patches and how it is coloured.

    Attributes
    ----------
    title : what is shown, above the picture.
    place : ``[N]`` in the colour map, 0-1; a patch with NaN is left as it is.
    colours : the colour map.
    ticks : what stands under both ends and the middle of its bar.
    legend : what the bar says beside that.
    """

    title: str
    place: np.ndarray
    colours: Colormap
    ticks: tuple[str, str, str]
    legend: str


def percentile_within(attention: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Return the percentile of each value, ``[N]`` in 0-100; equal values share one.

    Parameters
    ----------
    attention : ``[N]``.
    reference : ``[M]``, the values among which it is; None: among the attention itself.
    """
    ordered = np.sort(attention if reference is None else reference)
    below, upto = (np.searchsorted(ordered, attention, side) for side in ("left", "right"))
    return 100 * ((below + upto) / 2) / len(ordered)


def attention_map(
    attention: np.ndarray, kind: str = ATTENTION, reference: np.ndarray | None = None
) -> ScoreMap:
    """Colour attention, ``[N]``, by its percentile within the slide or among a ``reference``.

    It has no sign and no unit, and its size falls with the number of patches, so that within a
    slide only the order can be compared. The same holds of evidence, whose size does not fall:
    against a reference a slide may be high or low as a whole.
    """
    what = "attention" if kind == ATTENTION else "score"
    place = percentile_within(attention, reference) / 100
    among = "within slide" if reference is None else "among the reference"
    return ScoreMap(what, place, ORDERED, ("0", "50", "100"), f"{what} percentile {among}")


def contribution_map(contribution: np.ndarray, towards: str = "risk") -> ScoreMap:
    """Colour contributions, ``[N]``, around 0: red raises what is predicted, blue lowers it.

    Colours grow in proportion and are deepest for the strongest 1 % of the slide's patches, so that
    a single patch cannot pale all others.
    """
    size = np.abs(contribution)
    strongest = np.quantile(size, STRONGEST, method="lower") if len(size) else 0.0
    limit = strongest or size.max(initial=0.0) or 1.0
    place = 0.5 + np.clip(contribution / limit, -1, 1) / 2
    lowers, raises = f"against {towards}", f"for {towards}"
    if towards in ("risk", "output"):  # the others are classes
        lowers, raises = f"lowers the {towards}", f"raises the {towards}"
    legend = "deepest colour: strongest 1 %"
    return ScoreMap(f"contribution to {towards}", place, SIGNED, (lowers, "0", raises), legend)


def uncertainty_map(spread: np.ndarray) -> ScoreMap:
    """Colour how much random attention varies, ``[N]``, by its percentile within the slide.

    Its standard deviation grows with the attention itself (rank correlation 0.8 on the demo cohort)
    and would repeat its map; as a share of the attention it says something else.
    """
    place = percentile_within(spread) / 100
    legend = "percentile within slide: SD / attention"
    return ScoreMap("uncertainty of attention", place, SPREAD, ("0", "50", "100"), legend)


def relative_spread(scores: SlideScores) -> np.ndarray:
    """Return the standard deviation of random attention as a share of its mean, ``[N]``."""
    return scores.spread / np.maximum(scores.attention, np.finfo(np.float32).tiny)


def probability_map(probability: np.ndarray, name: str) -> ScoreMap:
    """Colour the probability, ``[N]``, that a patch is of a class by itself: 0-1 on every slide."""
    legend = "of each patch by itself"
    return ScoreMap(f"probability of {name}", probability, PROBABLE, ("0", "0.5", "1"), legend)


def label_map(labels: np.ndarray) -> ScoreMap:
    """Colour labels of instances, ``[N]``: 1, 0, or -1 for unknown, which has no colour."""
    place = np.where(labels < 0, np.nan, labels > 0)
    return ScoreMap("labels", place, BINARY, ("negative", "", "positive"), "no colour: unknown")


def score_maps(scores: SlideScores, labels: np.ndarray | None = None) -> tuple[ScoreMap, ...]:
    """Return all maps of a slide: attention, contributions and so on, of what there is.

    Of two classes the probability is that of the second.
    """
    maps = [attention_map(scores.attention, scores.kind)]
    if scores.contribution is not None:
        maps += [
            contribution_map(scores.contribution[:, k], scores.towards[k])
            for k in _shown(scores.contribution)
        ]
    if scores.spread is not None:
        maps.append(uncertainty_map(relative_spread(scores)))
    if scores.probability is not None:
        shown = [1] if len(scores.classes) == 2 else _shown(scores.probability)
        maps += [probability_map(scores.probability[:, k], scores.classes[k]) for k in shown]
    if labels is not None:
        maps.append(label_map(np.asarray(labels)))
    return tuple(maps)


def _shown(scores: np.ndarray) -> Sequence[int]:
    """Return which outputs, or classes, are drawn: all of a few, or that which has most."""
    count = scores.shape[1]
    return range(count) if count <= SHOWN else [int(scores.sum(0).argmax())]
