"""Scores of slices that have an order and no place: of a CT scan or a video, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mil.problems import InputError
from mil.score_maps import attention_map, contribution_map
from wsi.storage import atomic

DPI = 100
FRAME = 5  # pixels of colour around a slice
GAP, LINE, HEAD = 12, 30, 40  # pixels


def draw_slices(
    path: str | Path,
    slices: Sequence[np.ndarray],
    scores: np.ndarray,
    *,
    signed: bool = False,
    labels: np.ndarray | None = None,
    towards: str = "risk",
    columns: int = 8,
    side: int = 160,
    title: str = "",
) -> None:
    """Draw slices side by side in their order, each in a frame of the colour of its score, as JPEG.

    Parameters
    ----------
    path : JPEG to write.
    slices : N pictures, grey ``[H, W]`` or RGB ``[H, W, 3]``, of any sizes. Grey values that are no
        bytes are spread from their lowest to their highest over all slices.
    scores : ``[N]``, attention or, if `signed`, contributions.
    labels : ``[N]``, 1, 0, or -1 for unknown, said under the slices.
    towards : what contributions are to.
    columns : slices in a row.
    side : of the longer side of a slice, pixels.
    title : above everything.

    Raises
    ------
    mil.problems.InputError : no slice, or scores or labels of another number.
    """
    scores = np.asarray(scores)
    _check(slices, scores, labels)
    coloured = contribution_map(scores, towards) if signed else attention_map(scores)
    frames = np.rint(coloured.colours(coloured.place)[:, :3] * 255).astype(int).tolist()
    shown = [_framed(*each, side) for each in zip(_bytes(slices), frames, strict=True)]
    cell, columns = side + 2 * FRAME, min(columns, len(shown))
    rows = -(-len(shown) // columns)
    width, height = GAP + columns * (cell + GAP), HEAD + rows * (cell + LINE + GAP) + LINE
    figure = Figure((width / DPI, height / DPI), DPI, facecolor="white")
    figure.text(GAP / width, 1 - 10 / height, title, va="top", size=11, weight="bold")
    for number, picture in enumerate(shown):
        x = GAP + number % columns * (cell + GAP)
        y = HEAD + number // columns * (cell + LINE + GAP)
        high, wide = picture.shape[:2]
        place = x / width, 1 - (y + high) / height, wide / width, high / height
        axes = figure.add_axes(place)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        said = f"{number}: {scores[number]:.2g}" + _word(labels, number)
        figure.text(x / width, 1 - (y + cell + 4) / height, said, va="top", size=8)
    low, _, high = coloured.ticks
    legend = f"frame: {low} (blue) to {high} (red)" if signed else f"frame: {coloured.legend}"
    figure.text(GAP / width, 10 / height, legend, size=8)
    FigureCanvasAgg(figure)
    with atomic(path) as partial:
        figure.savefig(partial, format="jpg", pil_kwargs={"quality": 85, "optimize": True})


def _check(slices: Sequence[np.ndarray], scores: np.ndarray, labels: np.ndarray | None) -> None:
    if not len(slices):
        raise InputError(["draw_slices: no slice to draw."])
    problems = [
        f"draw_slices: {len(slices)} slices, but {name} of shape {np.shape(given)}."
        for name, given in (("scores", scores), ("labels", labels))
        if given is not None and np.shape(given) != (len(slices),)
    ]
    if problems:
        raise InputError(problems)


def _word(labels: np.ndarray | None, number: int) -> str:
    words = {1: ", positive", 0: ", negative"}
    return "" if labels is None else words.get(int(labels[number]), "")


def _bytes(slices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the slices as RGB bytes ``[H, W, 3]``."""
    slices = [np.asarray(one) for one in slices]
    if any(one.dtype != np.uint8 for one in slices):
        low, high = min(one.min() for one in slices), max(one.max() for one in slices)
        spread = float(high) - float(low) or 1.0
        slices = [np.rint((one - float(low)) / spread * 255).astype(np.uint8) for one in slices]
    return [one if one.ndim == 3 else one[..., None].repeat(3, axis=2) for one in slices]


def _framed(picture: np.ndarray, colour: Sequence[int], side: int) -> np.ndarray:
    factor = side / max(picture.shape[:2])
    size = [max(1, round(length * factor)) for length in picture.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    inside = cv2.resize(np.ascontiguousarray(picture), size, interpolation=how)
    edges = [FRAME] * 4
    return cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=colour)
