"""The choice of the epoch."""

import math

from mil.training.early_stopping import EarlyStopping


def follow(stopping, values):
    for epoch, value in enumerate(values, start=1):
        stopping.improves(epoch, value)
        if stopping.stop:
            return epoch
    return None


def test_an_epoch_of_the_warm_up_is_never_the_best():
    stopping = EarlyStopping(patience=3, warmup=5)
    assert follow(stopping, [5, 4, 3, 2, 0.1, 6, 5, 7, 7, 7]) == 10
    assert stopping.best_epoch == 7


def test_the_c_index_is_maximised():
    stopping = EarlyStopping(patience=2, warmup=0, higher=True)
    assert follow(stopping, [0.5, 0.7, 0.6, 0.65]) == 4
    assert stopping.best_epoch == 2


def test_tiny_changes_and_undefined_values_are_no_improvement():
    stopping = EarlyStopping(patience=3, warmup=0)
    assert follow(stopping, [1.0, 1.0 - 1e-8, math.nan, math.nan]) == 4
    assert stopping.best_epoch == 1
