"""How the patients of an epoch are divided into optimiser steps."""

from collections.abc import Sequence

import numpy as np

from mil.heads.base import Head


def windows(
    patients: Sequence[int], window: int, head: Head, drop_last: bool = False
) -> list[list[int]]:
    """Divide the patients of an epoch into the windows of its optimiser steps.

    Nobody is dropped: windows differ by one patient at most, so that each patient weighs about the
    same. They hold at most ``window`` patients; for a loss over risk sets, which needs many, at
    least as many as ``window`` and as the head asks for (or all there are). With ``drop_last`` they
    are AdvMIL's: ``window`` patients each, whatever the loss, and those left over are in none.
    """
    if drop_last:
        whole = len(patients) - len(patients) % window
        return [list(patients[first : first + window]) for first in range(0, whole, window)]
    if head.least_window > 1:
        count = max(1, len(patients) // max(window, head.least_window))
    else:
        count = -(-len(patients) // window)
    return [part.tolist() for part in np.array_split(np.asarray(patients), count)]
