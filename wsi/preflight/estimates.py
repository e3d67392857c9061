"""What the run will take: room on the disk and hours, each with its formula."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from wsi.preflight.rows import EncoderRow, SlideRow
from wsi.scale import CHILDREN

PLACE = 16 + 4  # bytes of a patch in its own file: two int64, one float32
COORDS = 16  # bytes of a patch beside its features
PICTURE = 3e5  # bytes of a slide's thumbnail, outlines and file headers
FULL = 0.9  # share of the free room that the estimate should stay below


def disk(
    rows: Sequence[SlideRow], encoders: Sequence[EncoderRow], neighbours: int, results: str
) -> list[tuple[str, str]]:
    """Return amounts and sentences on the room that results take, and on what is free.

    Parameters
    ----------
    rows, encoders : of the check.
    neighbours : of each patch in the graphs of space and of features.
    results : folder that will hold them; it need not exist yet.
    """
    patches, slides = total_patches(rows), sum(row.usable for row in rows)
    parts = [
        (patches * (4 * row.width + COORDS), f"features of {row.encoder}: patches x ({row.width:,} "
         f"x 4 + {COORDS}) bytes")
        for row in encoders
    ]  # fmt: skip
    graph = 2 * (2 * 8 * neighbours) + 8  # two lists of edges, one centre
    parts += [
        (patches * graph * len(encoders), f"graphs: patches x {graph} bytes, for each encoder"),
        (
            patches * (PLACE * (1 + 1 / CHILDREN) + 4 * len(encoders)) + slides * PICTURE,
            f"patches, clusters, pictures: patches x {PLACE + 5} bytes + slides x 0.3 MB",
        ),
    ]
    needed = sum(size for size, _ in parts)
    free = shutil.disk_usage(_existing(results)).free
    enough = "" if needed < FULL * free else ": NOT ENOUGH; make room or set results elsewhere"
    return [
        *((_gigabytes(size), what) for size, what in parts),
        (_gigabytes(needed), "in all, without models and figures, which are small"),
        (_gigabytes(free), f"free now at {results}{enough}"),
    ]


def hours(rows: Sequence[SlideRow], encoders: Sequence[EncoderRow]) -> list[tuple[str, str]]:
    """Return amounts and sentences on the time until all slides have features."""
    usable = [row for row in rows if row.usable]
    finding = sum(row.finding_s or 0 for row in usable)
    reading = sum(row.reading_s or 0 for row in usable)
    patches, cores = total_patches(rows), max((row.cores for row in encoders), default=1)
    rates = sorted(row.mpx_per_s for row in usable if row.mpx_per_s) or [0.0]
    lines = [
        (_duration(finding), "of one core for tissue and patches: measured on every slide"),
        (
            _duration(reading),
            f"of one core to read all patches once: {rates[0]:.3g} to {rates[-1]:.3g} Mpx/s, "
            f"median {rates[len(rates) // 2]:.3g}, measured with {cores} side by side",
        ),
    ]
    wall = finding / cores
    for row in encoders:
        encoding = patches / row.patches_per_s
        on_gpu = row.device == "cuda"
        lines.append(
            (
                _duration(encoding),
                f"of one {'GPU' if on_gpu else 'core'} to encode them with {row.encoder}: "
                f"{row.patches_per_s:,.3g} patches/s on this machine ({row.machine})",
            )
        )
        # a GPU encodes what one core reads meanwhile; without one a core does both
        wall += max(encoding, reading) if on_gpu else (encoding + reading) / cores
    lines.append(
        (
            _duration(wall),
            f"in all with {cores} core{'s' if cores > 1 else ''}, from the first slide to the last "
            "feature; graphs, clusters and training come on top",
        )
    )
    return lines


def total_patches(rows: Sequence[SlideRow]) -> int:
    """Return the number of fine patches of all usable slides."""
    return sum(row.patches or 0 for row in rows if row.usable)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3f} GB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def _existing(folder: str) -> Path:
    path = Path(folder).absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())
