"""What the simulated cohort consists of: patients, their slides, and which of these are odd."""

from dataclasses import dataclass

import numpy as np

from demo.survival import simulate_follow_up, spread_fractions
from mil.seeds import seed_for

SIDE = 8192
PATIENTS = 48
SEED = 42
STEP = 256  # level-0 sides are multiples of it, so that every level has whole pixels
FEWEST_WITH_ODD = 8

# What is odd about a slide, by name, in the words of truth.csv.
ODDITIES = {
    "": "",
    "blank": "glass only",
    "truncated": "file cut in the middle",
    "no_mpp": "no scale in the file, none in the table",
    "table_mpp": "no scale in the file, given in the table",
    "20x": "20x scan",
    "single_level": "one level only",
}
# Patient number -> what is odd about each of its slides, in order.
ODD_SLIDES = {
    2: ("truncated",),
    3: ("", "blank"),
    4: ("", "no_mpp"),
    5: ("20x",),
    6: ("single_level",),
    8: ("", "table_mpp"),
}
NO_FOLLOW_UP = 7  # number of the patient whose time is missing


@dataclass(frozen=True)
class SlidePlan:
    """One slide to be made.

    Attributes
    ----------
    slide_id, patient_id : identifiers.
    fraction : share of the tissue that is pattern; None for glass only.
    width, height : of level 0 at 40x, in pixels of 0.25 um (a 20x scan has half as many).
    odd : a key of ODDITIES.
    pen : colour of a pen mark, or "".
    fold : whether the tissue is folded.
    seed : of everything on the slide.
    """

    slide_id: str
    patient_id: str
    fraction: float | None
    width: int
    height: int
    odd: str
    pen: str
    fold: bool
    seed: int

    @property
    def mpp(self) -> float:
        """Um a pixel at level 0."""
        return 0.5 if self.odd == "20x" else 0.25

    @property
    def downsamples(self) -> tuple[int, ...]:
        """Levels below level 0: those of Aperio 40x and 20x scans, or none."""
        return {"20x": (4, 8), "single_level": ()}.get(self.odd, (4, 16))


@dataclass(frozen=True)
class PatientPlan:
    """One patient: months (None if unknown), event, site, pattern fraction, relative hazard."""

    patient_id: str
    time: float | None
    event: int
    site: str
    fraction: float
    hazard: float
    slides: tuple[SlidePlan, ...]


def plan_cohort(patients: int, side: int, seed: int, bad_slides: bool) -> list[PatientPlan]:
    """Plan the whole cohort; nothing is painted.

    Parameters
    ----------
    patients : number of patients.
    side : longest side of a slide's level 0, in pixels, a multiple of 256.
    seed : of the cohort.
    bad_slides : whether to have blank, truncated and otherwise odd slides, and a patient
        without follow-up.
    """
    problems = []
    if side < 4 * STEP or side % STEP:
        problems.append(f"side is {side}; it must be a multiple of {STEP}, at least {4 * STEP}.")
    fewest = FEWEST_WITH_ODD if bad_slides else 2
    if patients < fewest:
        problems.append(
            f"patients is {patients}; a cohort {'with' if bad_slides else 'without'} bad slides "
            f"needs at least {fewest}."
        )
    if problems:
        raise ValueError(" ".join(problems))

    rng = np.random.default_rng(seed_for(seed, "patients"))
    fraction = spread_fractions(rng, patients)
    follow_up = simulate_follow_up(rng, fraction)
    sites = rng.choice(["north", "south", "west"], patients)
    plans = []
    for index in range(patients):
        missing = bad_slides and index + 1 == NO_FOLLOW_UP
        patient_id = f"P{index + 1:03d}"
        plans.append(
            PatientPlan(
                patient_id=patient_id,
                time=None if missing else float(follow_up.time[index]),
                event=int(follow_up.event[index]),
                site=str(sites[index]),
                fraction=float(fraction[index]),
                hazard=float(follow_up.hazard[index]),
                slides=_plan_slides(index + 1, patient_id, fraction[index], side, seed, bad_slides),
            )
        )
    return plans


def _plan_slides(
    number: int, patient_id: str, fraction: float, side: int, seed: int, bad_slides: bool
) -> tuple[SlidePlan, ...]:
    """Plan the slides of patient `number` (from 1): one for most, two or three for some."""
    odd = ("",) * (3 if number % 24 == 0 else 2 if number % 10 == 8 else 1)
    if bad_slides:
        odd = ODD_SLIDES.get(number, odd)
    return tuple(
        _plan_slide(
            f"S{number:03d}" + ("ABC"[k] if len(odd) > 1 else ""),
            patient_id,
            fraction,
            side,
            seed,
            kind,
        )
        for k, kind in enumerate(odd)
    )


def _plan_slide(
    slide_id: str, patient_id: str, fraction: float, side: int, seed: int, odd: str
) -> SlidePlan:
    """Plan one slide; sections of one tumour differ a little in their pattern fraction."""
    rng = np.random.default_rng(seed_for(seed, "plan", slide_id))
    own = float(np.clip(fraction + rng.normal(0, 0.01), 0.02, 0.93))
    width = height = side
    # A third of the slides are halves, as biopsies are; tiny slides have nothing to spare.
    shape = rng.random()
    if side >= 4096 and not odd and shape < 0.30:
        width, height = (side, side // 2) if shape < 0.15 else (side // 2, side)
    pen = str(rng.choice(["blue", "green", "black"])) if rng.random() < 0.2 else ""
    fold = bool(rng.random() < 0.2)
    if odd == "blank":
        own, pen, fold = None, "", False
    return SlidePlan(
        slide_id, patient_id, own, width, height, odd, pen, fold, seed_for(seed, "slide", slide_id)
    )
