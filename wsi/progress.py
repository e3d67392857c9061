"""Progress of a long job: whole lines at a steady pace, for a terminal and for a log file."""

import logging
import time

PROGRESS = 25  # between INFO and WARNING: shown on the terminal of the workflow too
logging.addLevelName(PROGRESS, "PROGRESS")


class Progress:
    """Say how far a job is, at most once in `seconds`.

    Parameters
    ----------
    log : where to say it.
    what : what is worked on, e.g. ``features of S01``.
    total : number of steps.
    unit : name of a step, e.g. ``patches``.
    seconds : least time between two lines.
    """

    def __init__(self, log: logging.Logger, what: str, total: int, unit: str, seconds: float = 15):
        self.log, self.what, self.total, self.unit = log, what, total, unit
        self.seconds = seconds
        self.start = self.last = time.monotonic()

    def at(self, done: int, note: str = "") -> None:
        """Note that `done` steps are finished; `note` is added to the line."""
        now = time.monotonic()
        if now - self.last < self.seconds or done == 0:
            return
        self.last = now
        rate = done / (now - self.start)
        left = (self.total - done) / rate
        self.log.log(
            PROGRESS,
            "%s: %d of %d %s (%.0f %%), %.3g %s/s, %s left%s",
            *(self.what, done, self.total, self.unit, 100 * done / self.total, rate, self.unit),
            _duration(left),
            f"; {note}" if note else "",
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
