"""Opening every slide of a cohort before a long run."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from wsi.preflight.apart import CONTEXT, LostError, run_apart
from wsi.preflight.duplicates import mark_duplicates
from wsi.preflight.rows import EncoderRow, SlideRow, write_rows
from wsi.preflight.slide import check_slide
from wsi.preflight.speed import time_encoder
from wsi.progress import Progress

log = logging.getLogger(__name__)


def check_slides(
    *,
    slides: Sequence[Mapping[str, object]],
    scale: Mapping[str, object],
    size: int,
    encoders: Mapping[str, Mapping[str, object]],
    output: str,
    speeds: str,
    workers: int,
    seconds: float = 60.0,
) -> None:
    """Open every slide, read a few tiles, count its patches, find copies; time the encoders.

    Each slide is looked at in a process of its own: a native library that crashes or hangs there
    costs that slide its check and nothing else, and its memory is given back.

    Parameters
    ----------
    slides : each row of the slide table, see :func:`wsi.preflight.slide.check_slide`.
    scale : ``by``, ``coarse`` and ``fine``, see :func:`wsi.patches.make_patches`.
    size : side of the patches that encoders get, in pixels.
    encoders : ``architecture, weights, declared, batch_size, precision, device`` of each encoder by
        name, see :func:`wsi.preflight.speed.time_encoder`.
    output : CSV to write, a :class:`SlideRow` for each slide in table order.
    speeds : CSV to write, an :class:`EncoderRow` for each encoder.
    workers : slides looked at side by side.
    seconds : most that one slide may take.
    """
    CONTEXT.set_forkserver_preload(["wsi.preflight.slide"])
    progress = Progress(log, "slides", len(slides), "slides")
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_check_apart, entry, scale, seconds) for entry in slides]
        for done, _ in enumerate(as_completed(jobs), 1):
            progress.at(done)
    rows = [job.result() for job in jobs]
    mark_duplicates(rows)
    write_rows(output, SlideRow, rows)
    wanted = ("architecture", "weights", "declared", "batch_size", "precision", "device")
    write_rows(
        speeds,
        EncoderRow,
        [
            time_encoder(
                name=name,
                size=size,
                cores=workers,
                **{key: settings[key] for key in wanted if key in settings},
            )
            for name, settings in encoders.items()
        ],
    )


def _check_apart(
    entry: Mapping[str, object], scale: Mapping[str, object], seconds: float
) -> SlideRow:
    try:
        return run_apart(check_slide, entry, seconds=seconds, scale=scale)
    except LostError as error:
        slide, path = str(entry["slide_id"]), str(entry["path"])
        log.info("slide %s: %s", slide, error, exc_info=error.__cause__)
        return SlideRow(
            *(slide, str(entry["patient_id"]), path, "crash"),
            f"looking at {path} {error}. See that it opens in a viewer and that its disk answers; "
            "copy the slide again, or leave it out (exclude).",
        )
