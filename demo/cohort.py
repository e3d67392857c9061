"""Make the simulated cohort: slides, truth masks, tables, and a manifest that spares a second run.

The manifest keeps, for each finished slide, what it was made of. A slide whose file is there and
whose plan and painting code are unchanged is not made again; tables are rewritten only when their
text changes, so that a workflow sees no new inputs.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from demo import architecture, artefacts, glands, noise, nuclei, pyramid, tissue_painter
from demo.plan import ODDITIES, PATIENTS, SEED, SIDE, PatientPlan, SlidePlan, plan_cohort
from demo.survival import CENTRE, concordance
from wsi.storage import atomic

MASK_DOWNSAMPLE = 16
PATTERN, OTHER_TISSUE = 255, 128  # values of a truth mask; glass is 0


@dataclass(frozen=True)
class Cohort:
    """What there is after a call: counts, and the C-index of the true hazard."""

    folder: Path
    patients: int
    slides: int
    made: int
    events: int
    ceiling: float


def make_cohort(
    folder: str | Path,
    *,
    patients: int = PATIENTS,
    side: int = SIDE,
    seed: int = SEED,
    bad_slides: bool = True,
    jobs: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Cohort:
    """Make a simulated cohort, or what is missing of it.

    Parameters
    ----------
    folder : takes slides/, truth/, slides.csv, patients.csv, truth.csv and manifest.json. The
        paths in slides.csv start with it as given here.
    patients : number of patients, at least 8 with bad slides.
    side : longest side of a slide's level 0 at 40x, in pixels, a multiple of 256.
    seed : of the whole cohort; the same seed gives the same bytes whatever `jobs`.
    bad_slides : whether there are a blank, a truncated and other odd slides, and a patient
        without follow-up.
    jobs : processes that paint; all cores by default.
    report : takes lines of progress.

    Raises
    ------
    ValueError : for a side or a number of patients that cannot be.
    """
    plans = plan_cohort(patients, side, seed, bad_slides)
    folder = Path(folder)
    slides = [slide for patient in plans for slide in patient.slides]
    wanted = {slide.slide_id: _made_of(slide) for slide in slides}
    finished = _finished(folder, wanted)
    missing = [slide for slide in slides if slide.slide_id not in finished]
    parameters = {"patients": patients, "side": side, "seed": seed, "bad_slides": bad_slides}

    def write_manifest() -> None:
        text = json.dumps({"parameters": parameters, "slides": finished}, indent=1, sort_keys=True)
        _write_if_new(folder / "manifest.json", text + "\n")

    begin = time.monotonic()
    for count, (slide_id, size) in enumerate(_make_all(missing, folder, jobs), start=1):
        finished[slide_id] = {"made_of": wanted[slide_id], "bytes": size}
        write_manifest()
        if count % 8 == 0 or count == len(missing):
            report(f"demo: {count} of {len(missing)} slides, {time.monotonic() - begin:.0f} s")
    write_manifest()
    _write_tables(folder, plans)

    known = [p for p in plans if p.time is not None]
    ceiling = concordance(
        np.array([p.time for p in known]),
        np.array([p.event for p in known]),
        np.array([p.hazard for p in known]),
    )
    events = sum(p.event for p in known)
    return Cohort(folder, len(plans), len(slides), len(missing), events, ceiling)


def _make_all(
    slides: Sequence[SlidePlan], folder: Path, jobs: int | None
) -> Iterator[tuple[str, int]]:
    """Make slides in as many processes as wanted; yield (slide id, bytes) as each is finished."""
    jobs = min(jobs or os.cpu_count() or 1, len(slides))
    if jobs <= 1:
        for slide in slides:
            yield make_slide(slide, folder)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, cv2.setNumThreads, (1,)) as pool:
        for future in as_completed([pool.submit(make_slide, slide, folder) for slide in slides]):
            yield future.result()


def make_slide(plan: SlidePlan, folder: Path) -> tuple[str, int]:
    """Paint and store one slide and its truth mask; return its id and the size of its file."""
    shape = (plan.height // 4, plan.width // 4)  # um
    painting = tissue_painter.paint_slide(plan.seed, shape, plan.fraction, plan.pen, plan.fold)
    mask = np.where(painting.pattern, PATTERN, np.where(painting.tissue, OTHER_TISSUE, 0))
    step = round(MASK_DOWNSAMPLE * plan.mpp)
    # The middle of each block: averaging would invent values between the classes.
    small = mask[step // 2 :: step, step // 2 :: step].astype(np.uint8)
    with atomic(folder / "truth" / f"{plan.slide_id}.png") as partial:
        partial.write_bytes(cv2.imencode(".png", small)[1].tobytes())
    path = _slide_path(folder, plan.slide_id)
    with atomic(path) as partial:
        tags = plan.odd not in ("no_mpp", "table_mpp")
        pyramid.write_slide(partial, painting, plan.mpp, plan.downsamples, tags)
        if plan.odd == "truncated":
            os.truncate(partial, partial.stat().st_size // 2)
    return plan.slide_id, path.stat().st_size


def _slide_path(folder: Path, slide_id: str) -> Path:
    return folder / "slides" / f"{slide_id}.tiff"


def _made_of(plan: SlidePlan) -> str:
    """Return a digest of a slide's plan and of the code that paints and stores it."""
    digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode())
    for module in (architecture, artefacts, glands, noise, nuclei, pyramid, tissue_painter):
        digest.update(Path(module.__file__).read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def _finished(folder: Path, wanted: dict[str, str]) -> dict[str, dict[str, str | int]]:
    """Return the manifest's entries that still hold; remove slides that are no longer wanted."""
    try:
        entries = json.loads((folder / "manifest.json").read_text())["slides"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return {}
    for slide_id in entries.keys() - wanted.keys():
        _slide_path(folder, slide_id).unlink(missing_ok=True)
        (folder / "truth" / f"{slide_id}.png").unlink(missing_ok=True)
    return {
        slide_id: entry
        for slide_id, entry in entries.items()
        if entry["made_of"] == wanted.get(slide_id)
        and _size(_slide_path(folder, slide_id)) == entry["bytes"]
        and _size(folder / "truth" / f"{slide_id}.png") > 0
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _write_tables(folder: Path, plans: Sequence[PatientPlan]) -> None:
    """Write slides.csv, patients.csv and truth.csv where their text is new."""
    slides = [["slide_id", "patient_id", "path", "mpp"]]
    patients = [["patient_id", "time", "event", "site", "pattern"]]
    truth = [["patient_id", "pattern_fraction", "hazard", "slides", "slide_fractions", "odd"]]
    for patient in plans:
        for slide in patient.slides:
            mpp = f"{slide.mpp:.9g}" if slide.odd == "table_mpp" else ""
            path = _slide_path(folder, slide.slide_id).as_posix()
            slides.append([slide.slide_id, patient.patient_id, path, mpp])
        months = "" if patient.time is None else f"{patient.time:.9g}"
        amount = "abundant" if patient.fraction >= CENTRE else "scarce"
        patients.append([patient.patient_id, months, str(patient.event), patient.site, amount])
        fractions = ["" if s.fraction is None else f"{s.fraction:.9g}" for s in patient.slides]
        odd = [f"{s.slide_id}: {ODDITIES[s.odd]}" for s in patient.slides if s.odd]
        if patient.time is None:
            odd.append("no follow-up")
        truth.append(
            [
                patient.patient_id,
                f"{patient.fraction:.9g}",
                f"{patient.hazard:.9g}",
                " ".join(s.slide_id for s in patient.slides),
                " ".join(fractions).strip(),
                "; ".join(odd),
            ]
        )
    for name, rows in {"slides": slides, "patients": patients, "truth": truth}.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        _write_if_new(folder / f"{name}.csv", text.getvalue())


def _write_if_new(path: Path, text: str) -> None:
    """Write a text, unless the file already says so: an untouched file re-runs nothing."""
    if not path.exists() or path.read_text() != text:
        with atomic(path) as partial:
            partial.write_text(text)
