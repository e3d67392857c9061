"""Errors of predicted times. Numbers of different variants are never compared."""

import numpy as np
from numpy.typing import ArrayLike

from mil.survival.metrics.arrays import Floats, checked


def mae_uncensored(predicted: ArrayLike, time: ArrayLike, event: ArrayLike) -> float:
    """Return the mean ``|m - t|`` over events, in the unit of time; NaN without events.

    Biased towards early events: those are the ones that are seen.
    """
    time, event, predicted = checked(time, event, predicted=predicted)
    return float(np.abs(predicted - time)[event].mean()) if event.any() else np.nan


def mae_hinge(predicted: ArrayLike, time: ArrayLike, event: ArrayLike) -> float:
    """Return the mean of ``|m - t|`` for events and ``max(0, t - m)`` for censored patients.

    It rewards predictions that are too long. NaN without patients.
    """
    errors = hinge_errors(predicted, time, event)
    return float(errors.mean()) if len(errors) else np.nan


def hinge_errors(predicted: ArrayLike, time: ArrayLike, event: ArrayLike) -> Floats:
    """Return the errors [n] of which :func:`mae_hinge` is the mean."""
    time, event, predicted = checked(time, event, predicted=predicted)
    excess = predicted - time
    return np.where(event, np.abs(excess), np.maximum(0, -excess))
