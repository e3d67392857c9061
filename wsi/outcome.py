"""One slide never stops a cohort: stages end in an outcome, not in an exception."""

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsi.storage import Outcome, atomic, read_outcome, save_npz, write_h5

log = logging.getLogger(__name__)


class SlideError(Exception):
    """Something is wrong with the slide itself, said in a sentence.

    Parameters
    ----------
    kind : ``unreadable``, ``no_scale``, ``no_tissue``, ``damaged``; of imported features also
        ``no_features`` and ``no_coords``.
    reason : what, which value and what to do, for the person who must act.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind

    def __reduce__(self) -> tuple:
        return SlideError, (self.kind, str(self))


def write_failed(path: str | Path, outcome: Outcome) -> None:
    """Write the file a stage owes for a failed slide: valid, without rows, naming the reason."""
    suffix = Path(path).suffix
    if suffix == ".h5":
        empty = {"features": np.zeros((0, 0), np.float32), "coords": np.zeros((0, 2), np.int64)}
        write_h5(path, outcome, empty)
    elif suffix == ".npz":
        save_npz(path, outcome)
    elif suffix == ".geojson":
        content = {"type": "FeatureCollection", "features": [], "outcome": vars(outcome)}
        with atomic(path) as partial:
            partial.write_text(json.dumps(content, sort_keys=True) + "\n")
    elif suffix == ".jpg":
        _write_blank_picture(path)
    else:
        raise ValueError(f"{path}: no empty form is known for files of this kind")


def _write_blank_picture(path: str | Path) -> None:
    from wsi.jpeg import write_jpeg  # here: OpenCV is not needed by every stage

    write_jpeg(np.full((64, 64, 3), 238, np.uint8), path, quality=95)


def slide_stage(*, writes: tuple[str, ...], after: str | None = None) -> Callable:
    """Turn a function of one slide into a stage.

    The function takes keywords only, among them ``slide_id`` and the paths it reads and writes. It
    raises :class:`SlideError` when the slide cannot be used; the stage then writes every file it
    owes, without rows and with the reason. Any other exception is a bug and passes through.

    Parameters
    ----------
    writes : the keywords that name output files.
    after : the keyword of an input that carries the outcome of the stage before. If that is not
        ok, the function is not called and the outcome is passed on.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., Outcome]:
        @functools.wraps(function)
        def stage(**settings: object) -> Outcome:
            outputs = [str(settings[name]) for name in writes]
            crashed = settings.pop("crashed", None)
            if after and not (before := read_outcome(str(settings[after]))).ok:
                log.info("%s: %s", before.stage, before.reason)
                return _give_up(outputs, before)
            slide_id, name = str(settings["slide_id"]), function.__name__
            if crashed:
                reason = f"slide {slide_id}: {crashed}"
                return _give_up(outputs, Outcome(slide_id, name, "failed", reason, "crash"))
            try:
                function(**settings)
            except SlideError as error:
                reason = f"slide {slide_id}: {error}"
                log.warning("%s", reason)
                return _give_up(outputs, Outcome(slide_id, name, "failed", reason, error.kind))
            return Outcome(slide_id, name)

        return stage

    return decorate


def _give_up(outputs: list[str], outcome: Outcome) -> Outcome:
    for path in outputs:
        write_failed(path, outcome)
    return outcome
