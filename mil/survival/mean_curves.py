"""The mean of several models' survival curves, and the mean time up to a horizon."""

from collections.abc import Sequence

import numpy as np

from mil.survival.curves import SurvivalCurves, curves_of_draws
from mil.survival.metrics.arrays import Floats


def mean_curves(models: Sequence[SurvivalCurves]) -> SurvivalCurves:
    r"""Return :math:`\frac1M \sum_m S_m(u)`, exactly: of the same n patients, by M models.

    Draws are pooled, which is the same where all models have as many. Of steps and of lines the
    mean has the knots of all models. It ends where the first of them does: after that it is partly
    a flat continuation.

    Parameters
    ----------
    models : curves of one kind (draws, steps or lines); steps and lines have the same knots for
        all patients of a model.
    """
    if all(curves.draws for curves in models):
        return curves_of_draws(np.concatenate([curves.knots for curves in models], axis=1))
    knots = np.unique(np.concatenate([curves.knots[0] for curves in models]))
    survival = np.mean([curves.at(knots) for curves in models], axis=0)  # [n, m]
    end = min(curves.end for curves in models)
    return SurvivalCurves(np.broadcast_to(knots, survival.shape), survival, models[0].straight, end)


def restricted_mean(curves: SurvivalCurves, until: float) -> Floats:
    r"""Return :math:`\int_0^{\tau} S_i(u) du` [n], the mean of the time cut at ``until``."""
    knots = curves.knots[0]
    grid = np.concatenate([[0.0], knots[(knots > 0) & (knots < until)], [until]])
    values = curves.at(grid)
    widths = np.diff(grid)
    left, right = values[:, :-1], values[:, 1:]
    return ((left + right) / 2 if curves.straight else left) @ widths
