"""Which epoch is the best, and when to stop looking for a better one."""

import math


class EarlyStopping:
    """Keep the best value of a monitored metric.

    Parameters
    ----------
    patience : epochs in a row without improvement after which ``stop`` is true.
    warmup : first epochs, which are ignored.
    higher : a higher value is better (C-index); otherwise a lower one (loss).
    least : smallest change that counts as an improvement.
    """

    def __init__(
        self, patience: int, warmup: int, higher: bool = False, least: float = 1e-6
    ) -> None:
        self.patience = patience
        self.warmup = warmup
        self.sign = -1.0 if higher else 1.0
        self.least = least
        self.best = math.inf
        self.best_epoch: int | None = None
        self.waited = 0

    def improves(self, epoch: int, value: float) -> bool:
        """Take in the value of an epoch (counted from 1); return whether it is the best so far.

        An undefined value (NaN) is never an improvement.
        """
        if epoch <= self.warmup:
            return False
        if self.sign * value <= self.best - self.least:
            self.best, self.best_epoch, self.waited = self.sign * value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def stop(self) -> bool:
        """Whether patience is at its end."""
        return self.waited >= self.patience
