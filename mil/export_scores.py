"""Scores of patches for QuPath: a GeoJSON file a slide, a square a patch."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mil.problems import InputError
from mil.score_maps import attention_map, contribution_map
from mil.slide_scores import SlideScores, read_slide_scores, scored_slides
from wsi.storage import MADE_BY, atomic, read_features

log = logging.getLogger(__name__)


def export_scores(
    *,
    attention: Sequence[str | Path],
    cohort: str | Path,
    root: str | Path,
    to: str | Path,
    slides: Sequence[str] | None = None,
) -> None:
    """Write ``<to>/<slide>.geojson`` for every slide that models have scored.

    Each patch is a detection with its measurements: attention, its percentile within the slide,
    and, where the model has them, contributions and the standard deviation of random attention. Its
    colour is that of the contribution in heatmaps, or else of the attention. In QuPath: File >
    Import objects from file; Measure > Show measurement maps colours by any of the measurements.

    Parameters
    ----------
    attention : files that ``predict_fold`` or ``predict_cohort`` wrote, of several models one each;
        a slide that several of them have gets the mean.
    cohort, root : usable slides (``gather_cohort``), and the folder that their paths are relative
        to.
    to : folder to write.
    slides : ids of the slides wanted; None for all.

    Raises
    ------
    mil.problems.InputError : a slide that no file has scores of, or no slide at all; scores of
        other patches than the features have.
    """
    places = pd.read_csv(cohort, dtype={"slide_id": str}).set_index("slide_id")["features"]
    files: dict[str, list[str | Path]] = {}
    for path in attention:
        for slide in scored_slides(path):
            files.setdefault(slide, []).append(path)
    known = [slide for slide in places.index if slide in files]
    wanted = known if slides is None else list(slides)
    unknown = [slide for slide in wanted if slide not in known]
    if unknown or not wanted:
        raise InputError(
            [
                f"export_scores: no scores of {f'slide {unknown[0]}' if unknown else 'any slide'} "
                f"of {cohort} in {', '.join(map(str, attention))}. They hold test patients alone."
            ]
        )
    for slide in wanted:
        scores = read_slide_scores(files[slide], slide)
        write_score_squares(
            Path(to) / f"{slide}.geojson", slide, scores, Path(root) / places[slide]
        )
    log.info("%d slides are in %s", len(wanted), to)


def write_score_squares(
    path: str | Path, slide: str, scores: SlideScores, features: str | Path
) -> None:
    """Write the scores of one slide at the places that its feature file says, see above.

    Coordinates are level-0 pixels from the corner of what was scanned, where viewers count from.
    """
    _, coords, attributes = read_features(features)
    if len(coords) != len(scores.attention):
        raise InputError(
            [
                f"slide {slide}: scores of {len(scores.attention)} patches, but {features} has "
                f"{len(coords)}; predict again."
            ]
        )
    low = coords - attributes["bounds"][:2]
    high = np.rint(low + float(attributes["footprint0"])).astype(int)
    said = {**MADE_BY, "slide_id": slide, "towards": scores.towards, "exact": scores.exact}
    with atomic(path) as partial, open(partial, "w") as file:
        file.write(f'{{"type": "FeatureCollection", "scores": {json.dumps(said)}, "features": [')
        for number, feature in enumerate(_squares(low, high, measurements(scores), _rgb(scores))):
            file.write(",\n" if number else "\n")
            json.dump(feature, file, separators=(",", ":"))
        file.write("\n]}\n")


def measurements(scores: SlideScores) -> dict[str, np.ndarray]:
    """Return what QuPath lists for each patch, ``[N]`` by name."""
    drawn = attention_map(scores.attention, scores.kind)
    listed = {scores.kind: scores.attention, f"{scores.kind} percentile": 100 * drawn.place}
    if scores.spread is not None:
        listed["attention SD"] = scores.spread
    if scores.probability is not None:
        for k, name in enumerate(scores.classes):
            listed[f"probability of {name}"] = scores.probability[:, k]
    for k, output in enumerate(scores.towards):
        listed[f"contribution to {output}"] = scores.contribution[:, k]
    return listed


def _rgb(scores: SlideScores) -> np.ndarray:
    """Return the colour of each patch, ``[N, 3]`` 0-255."""
    drawn = attention_map(scores.attention, scores.kind)
    if scores.contribution is not None:
        drawn = contribution_map(scores.contribution[:, -1], scores.towards[-1])
    return np.rint(drawn.colours(drawn.place)[:, :3] * 255).astype(int)


def _squares(
    low: np.ndarray, high: np.ndarray, listed: Mapping[str, np.ndarray], rgb: np.ndarray
) -> Iterator[dict[str, object]]:
    values = [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]
    for (x0, y0), (x1, y1), value, colour in zip(
        low.tolist(), high.tolist(), values, rgb.tolist(), strict=True
    ):
        ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": "detection",
                "color": colour,
                "measurements": {name: float(f"{one:.6g}") for name, one in value.items()},
            },
        }
