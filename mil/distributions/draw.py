"""Draw the predicted distributions of an experiment, and write what each figure shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mil.distributions.calibration_figure import calibration_table, draw_calibration
from mil.distributions.chosen_patients import chosen_patients, draw_chosen_patients
from mil.distributions.intervals import draw_intervals, predicted_intervals
from mil.distributions.over_time import draw_over_time, scores_over_time
from mil.distributions.times import draw_times, predicted_times
from mil.figures import save_figure
from mil.fold_predictions import read_predictions
from wsi.storage import atomic

FIGURES = ("chosen_patients", "intervals", "predicted_times", "calibration", "over_time")


def draw_distributions(
    *,
    name: str,
    predictions: Sequence[str | Path],
    draws: Sequence[str | Path],
    figures: Mapping[str, str | Path],
    bootstrap: int,
    seed: int,
    unit: str,
) -> None:
    """Draw the test parts of all folds; patients of further repeats are shown once.

    Parameters
    ----------
    name : of the experiment, for titles.
    predictions, draws : ``predictions.csv`` and ``draws.npz`` of each fold.
    figures : outputs, an SVG for each of `FIGURES`; beside it the CSV of the same name. Where a
        head has no such distribution the SVG says so and the CSV has no rows.
    bootstrap, seed : of the bands.
    unit : of the times, for the axes.
    """
    folds = read_predictions(predictions, draws)
    people, intervals = chosen_patients(folds), predicted_intervals(folds)
    times, calibration = predicted_times(folds), calibration_table(folds)
    scores = scores_over_time(folds, bootstrap, seed)
    drawn: dict[str, tuple[pd.DataFrame, Figure]] = {
        "chosen_patients": (people, draw_chosen_patients(people, name, unit)),
        "intervals": (intervals, draw_intervals(intervals, name, unit)),
        "predicted_times": (times, draw_times(times, name, unit)),
        "calibration": (calibration, draw_calibration(calibration, name)),
        "over_time": (scores, draw_over_time(scores, name, unit)),
    }
    for figure in FIGURES:
        table, picture = drawn[figure]
        save_figure(picture, figures[figure])
        with atomic(Path(figures[figure]).with_suffix(".csv")) as partial:
            table.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
