"""What every metric asks of its arrays."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def checked(
    time: ArrayLike, event: ArrayLike, **others: ArrayLike
) -> tuple[Floats, Bools, *tuple[Floats, ...]]:
    """Return times as float64, events as bool and the others as float64, all with n rows.

    Raises
    ------
    ValueError : a time that is not finite, an event that is neither 0 nor 1, or unequal lengths.
    """
    time = np.asarray(time, dtype=np.float64)
    event = np.asarray(event)
    if not np.isfinite(time).all():
        raise ValueError("A time is missing or infinite; leave such patients out.")
    if not np.isin(event, (0, 1)).all():
        raise ValueError("An event is neither 1 (event seen) nor 0 (censored).")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in others.items()}
    for name, values in {"event": event, **arrays}.items():
        if len(values) != len(time):
            raise ValueError(f"There are {len(time)} times but {len(values)} rows of {name}.")
    return time, event.astype(bool), *arrays.values()
